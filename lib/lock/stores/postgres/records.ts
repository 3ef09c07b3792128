import { GuardLostError } from '../../errors.ts';
import { judgeChange } from '../guarded-change.ts';
import type { Committed, GuardedChange, StoredRecord } from '../ticket-store.ts';
import { touchesOf } from '../touches.ts';
import type { Row } from './connections.ts';
import type { Database } from './database.ts';
import { flag, number, text, texts, toRecord } from './rows.ts';
import type { Sessions } from './sessions.ts';
import { fromColumn, toColumn } from './text.ts';
import type { Statement, Step, Transaction } from './write-steps.ts';

/** Marks a ticket whose session another client has resumed. */
const takenMark = 'taken';

/** The records that locks protect. */
export class Records {
  readonly #database: Database;
  readonly #sessions: Pick<Sessions, 'isTaken' | 'ownership'>;

  constructor(database: Database, sessions: Pick<Sessions, 'isTaken' | 'ownership'>) {
    this.#database = database;
    this.#sessions = sessions;
  }

  async get(key: string): Promise<StoredRecord | undefined> {
    return recordIn(
      await this.#database.read(readRecord('$1', this.#database), [toColumn(key)]),
      key,
    );
  }

  async below(prefix: string): Promise<StoredRecord[]> {
    const columns = readBelowPrefix('$1', this.#database);
    return recordsBelowIn(await this.#database.read(columns, [toColumn(prefix)]));
  }

  commit(change: GuardedChange): Promise<Committed> {
    const step: Step<Committed> = (rows, transaction) => {
      const { effects } = transaction;
      const last = effects.revision - 1;
      const tickets = new Map(
        rows.filter(isTicket).map((row) => [nameOf(row), number(row, 'revision')]),
      );
      const [taken] = rows.filter(isTicket).filter((row) => text(row, 'value') === takenMark);
      if (taken) throw new GuardLostError("a ticket of the change is another process's now");
      const records = new Map(rows.filter(isRecord).map((row) => [nameOf(row), toRecord(row)]));
      const judgement = judgeChange(change, {
        exists: ({ nonce, token }) => tickets.get(nonce) === token,
        record: (key) => records.get(key),
      });
      if (judgement.state === 'refused') throw judgement.error;
      if (judgement.state === 'made') return { revision: judgement.revision ?? last };
      const written = change.writes.flatMap(({ key, value }) =>
        value === undefined ? [] : [{ key, value }],
      );
      putRecords(this.#database, written, transaction);
      const unwanted = change.writes.filter(
        ({ key, value }) => value === undefined && records.has(key),
      );
      deleteRecords(
        this.#database,
        unwanted.map(({ key }) => key),
        transaction,
      );
      this.#database.deleteTickets(change.release, transaction);
      return { revision: effects.hasAny() ? effects.revision : last };
    };
    const written = change.writes.map(({ key }) => key);
    const touches = touchesOf([...change.guards, ...change.release], { written });
    return this.#database.write(this.#look(change), step, touches);
  }

  /** Reads the tickets (by nonce) and the records (by key) of a change. */
  #look({ guards, release, writes }: GuardedChange): Statement {
    const { tickets, records } = this.#database.tables;
    const ownerships = [...guards, ...release].map(({ session }) =>
      this.#sessions.ownership(session),
    );
    const isTaken = `EXISTS (
      SELECT 1 FROM unnest($3::text[], $4::text[]) AS own (id, incarnation)
      WHERE own.id = session AND ${this.#sessions.isTaken('own.id', 'own.incarnation')}
    )`;
    return [
      `SELECT FALSE AS is_record, nonce AS key,
              CASE WHEN ${isTaken} THEN '${takenMark}' ELSE '' END AS value, token AS revision
         FROM ${tickets} WHERE nonce = ANY($1::text[])
       UNION ALL
       SELECT TRUE, key, value, revision FROM ${records} WHERE key = ANY($2::text[])`,
      [
        [...guards, ...release].map(({ nonce }) => toColumn(nonce)),
        writes.map(({ key }) => toColumn(key)),
        ownerships.map(([id]) => id),
        ownerships.map(([, incarnation]) => incarnation),
      ],
    ];
  }
}

/** Deletes records that exist. */
export function deleteRecords(
  { tables }: Database,
  keys: readonly string[],
  { effects, send }: Transaction,
): void {
  if (keys.length === 0) return;
  send(`DELETE FROM ${tables.records} WHERE key = ANY($1::text[])`, [keys.map(toColumn)]);
  effects.removedRecords.push(...keys);
}

/** Returns the columns that `recordIn` reads, for the record whose key is the parameter `key`. */
export function readRecord(key: string, { tables }: Database): string {
  const where = `FROM ${tables.records} WHERE key = ${key}`;
  return `ARRAY(SELECT value ${where}) AS value, (SELECT revision ${where}) AS revision`;
}

/** Returns the columns that `recordsBelowIn` reads; the parameter `prefix` begins their keys. */
export function readBelowPrefix(prefix: string, { tables }: Database): string {
  const where = `FROM ${tables.records} WHERE starts_with(key, ${prefix}) ORDER BY key`;
  return `ARRAY(SELECT key ${where}) AS keys_below, ARRAY(SELECT value ${where}) AS values_below,
    ARRAY(SELECT revision::text ${where}) AS revisions_below`;
}

export function recordsBelowIn(row: Row | undefined): StoredRecord[] {
  const [values, revisions] = [texts(row, 'values_below'), texts(row, 'revisions_below')];
  return texts(row, 'keys_below')
    .map((key, index) => ({
      key: fromColumn(key),
      value: fromColumn(values[index] ?? ''),
      revision: Number(revisions[index]),
    }))
    .sort((a, b) => (a.key < b.key ? -1 : 1));
}

export function recordIn(row: Row | undefined, key: string): StoredRecord | undefined {
  const [value] = texts(row, 'value');
  return value === undefined ? undefined : toRecord({ ...row, key: toColumn(key), value });
}

/** Creates or replaces records. */
export function putRecords(
  { tables }: Database,
  written: readonly { readonly key: string; readonly value: string }[],
  { effects, send }: Transaction,
): void {
  if (written.length === 0) return;
  const { revision } = effects;
  const keys = written.map(({ key }) => toColumn(key));
  const values = written.map(({ value }) => toColumn(value));
  send(
    `INSERT INTO ${tables.records} (key, value, revision)
     SELECT key, value, $3::int8 FROM unnest($1::text[], $2::text[]) AS written (key, value)
     ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision`,
    [keys, values, revision],
  );
  effects.records.push(...written.map((record) => ({ ...record, revision })));
}

function isRecord(row: Row): boolean {
  return flag(row, 'is_record');
}

function isTicket(row: Row): boolean {
  return !isRecord(row);
}

function nameOf(row: Row): string {
  return fromColumn(text(row, 'key'));
}
