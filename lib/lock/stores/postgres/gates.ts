import type { Gate } from '../../ticket.ts';
import type { Database } from './database.ts';
import { texts, toGates } from './rows.ts';
import { toColumn } from './text.ts';

/** The closed gates. */
export class Gates {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  close(gate: Gate): Promise<void> {
    return this.#database.write(async ({ query, effects }) => {
      const closed = await query(
        `INSERT INTO ${this.#database.tables.gates} (lock_name, gate) VALUES ($1, $2)
         ON CONFLICT (lock_name) DO NOTHING RETURNING lock_name`,
        [toColumn(gate.lockName), JSON.stringify(gate)],
      );
      if (closed.length > 0) effects.closedGates.push(gate);
    });
  }

  open(lockName: string): Promise<void> {
    return this.#database.write(async ({ query, effects }) => {
      const opened = await query(
        `DELETE FROM ${this.#database.tables.gates} WHERE lock_name = $1 RETURNING lock_name`,
        [toColumn(lockName)],
      );
      if (opened.length > 0) effects.openedGates.push(lockName);
    });
  }

  async all(): Promise<readonly Gate[]> {
    const { gates } = this.#database.tables;
    const row = await this.#database.read(`ARRAY(SELECT gate FROM ${gates}) AS gates`);
    return toGates(texts(row, 'gates'));
  }
}
