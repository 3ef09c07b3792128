import type { Ticket } from '../../ticket.ts';
import { judgeChange } from '../guarded-change.ts';
import type { Committed, GuardedChange, StoredRecord } from '../ticket-store.ts';
import type { Database, Transaction } from './database.ts';
import { number, text, texts, toRecord } from './rows.ts';
import { fromColumn, toColumn } from './text.ts';

/** What the locks protect. */
export class Records {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async get(key: string): Promise<StoredRecord | undefined> {
    const { records } = this.#database.tables;
    const where = `FROM ${records} WHERE key = $1`;
    const row = await this.#database.read(
      `ARRAY(SELECT value ${where}) AS value, (SELECT revision ${where}) AS revision`,
      [toColumn(key)],
    );
    const [value] = texts(row, 'value');
    return value === undefined ? undefined : toRecord({ ...row, key: toColumn(key), value });
  }

  commit(change: GuardedChange): Promise<Committed> {
    return this.#database.write(async (transaction) => {
      const { effects } = transaction;
      const last = effects.revision - 1;
      const [tokens, records] = await this.#view(change, transaction);
      const judgement = judgeChange(change, {
        exists: ({ nonce, token }) => tokens.get(nonce) === token,
        record: (key) => records.get(key),
      });
      if (judgement.state === 'refused') throw judgement.error;
      if (judgement.state === 'made') return { revision: judgement.revision ?? last };
      await this.#write(change, transaction);
      await this.#release(change.release, transaction);
      return { revision: effects.hasAny() ? effects.revision : last };
    });
  }

  /** The tickets, by nonce, and the records that a change speaks of. */
  async #view(
    { guards, release, writes }: GuardedChange,
    { query }: Transaction,
  ): Promise<[tokens: Map<string, number>, records: Map<string, StoredRecord>]> {
    const { tickets, records } = this.#database.tables;
    const nonces = [...guards, ...release].map(({ nonce }) => toColumn(nonce));
    const keys = writes.map(({ key }) => toColumn(key));
    const standing = await query(
      `SELECT nonce, token FROM ${tickets} WHERE nonce = ANY($1::text[])`,
      [nonces],
    );
    const stored = await query(`SELECT * FROM ${records} WHERE key = ANY($1::text[])`, [keys]);
    return [
      new Map(standing.map((row) => [fromColumn(text(row, 'nonce')), number(row, 'token')])),
      new Map(stored.map(toRecord).map((record) => [record.key, record])),
    ];
  }

  async #write({ writes }: GuardedChange, { query, effects }: Transaction): Promise<void> {
    const { records } = this.#database.tables;
    const { revision } = effects;
    const written = writes.flatMap(({ key, value }) =>
      value === undefined ? [] : [{ key, value, revision }],
    );
    if (written.length > 0) {
      await query(
        `INSERT INTO ${records} (key, value, revision)
         SELECT key, value, $3::int8 FROM unnest($1::text[], $2::text[]) AS written (key, value)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision`,
        [
          written.map(({ key }) => toColumn(key)),
          written.map(({ value }) => toColumn(value)),
          revision,
        ],
      );
      effects.records.push(...written);
    }
    const unwanted = writes.filter(({ value }) => value === undefined);
    if (unwanted.length > 0) {
      const keys = unwanted.map(({ key }) => toColumn(key));
      const statement = `DELETE FROM ${records} WHERE key = ANY($1::text[]) RETURNING key`;
      const removed = (await query(statement, [keys])).map((row) => fromColumn(text(row, 'key')));
      effects.removedRecords.push(...removed);
    }
  }

  async #release(release: readonly Ticket[], transaction: Transaction): Promise<void> {
    if (release.length === 0) return;
    const tokens = release.map(({ token }) => token);
    await this.#database.deleteTickets(transaction, 'token = ANY($1::int8[])', [tokens]);
  }
}
