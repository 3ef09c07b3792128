import type { Gate } from '../../ticket.ts';
import type { Database } from './database.ts';
import { texts, toGates } from './rows.ts';
import { toColumn } from './text.ts';
import type { Statement } from './write-steps.ts';

/** The closed gates in the tables. */
export class Gates {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  close(gate: Gate): Promise<void> {
    const { gates } = this.#database.tables;
    return this.#database.write(this.#look(gate.lockName), ([closed], { effects, send }) => {
      if (closed) return;
      send(`INSERT INTO ${gates} (lock_name, gate) VALUES ($1, $2)`, [
        toColumn(gate.lockName),
        JSON.stringify(gate),
      ]);
      effects.closedGates.push(gate);
    });
  }

  open(lockName: string): Promise<void> {
    const { gates } = this.#database.tables;
    return this.#database.write(this.#look(lockName), ([closed], { effects, send }) => {
      if (!closed) return;
      send(`DELETE FROM ${gates} WHERE lock_name = $1`, [toColumn(lockName)]);
      effects.openedGates.push(lockName);
    });
  }

  async all(): Promise<readonly Gate[]> {
    const { gates } = this.#database.tables;
    const row = await this.#database.read(`ARRAY(SELECT gate FROM ${gates}) AS gates`);
    return toGates(texts(row, 'gates'));
  }

  #look(lockName: string): Statement {
    const { gates } = this.#database.tables;
    return [`SELECT gate FROM ${gates} WHERE lock_name = $1`, [toColumn(lockName)]];
  }
}
