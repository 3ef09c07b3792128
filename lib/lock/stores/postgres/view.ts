import type { StoreChange, StoreState } from '../ticket-store.ts';
import type { Connection, Row } from './connections.ts';
import { rolledBack } from './connections.ts';
import type { Database } from './database.ts';
import { flag, number, text, toChange, toGates, toRecord, toTicket } from './rows.ts';

/** The changes that a watcher has not seen yet. */
export interface News {
  /** Undefined if some of the changes are no longer kept. */
  readonly changes: readonly StoreChange[] | undefined;
  /** Milliseconds until the next session ends unless it is renewed. */
  readonly untilExpiryMs: number;
}

/** Reads the whole state at one revision. Rejects on a standby. */
export async function readState(database: Database, connection: Connection): Promise<StoreState> {
  const { tables, dialect, signs } = database;
  const floor = signs.revision;
  const read = connection.script([
    `BEGIN ISOLATION LEVEL ${dialect.snapshot} READ ONLY`,
    `SELECT ${dialect.isStandby} AS is_standby, revision, ${database.historyId} AS history FROM ${tables.counter}`,
    `SELECT ticket FROM ${tables.tickets} ORDER BY token`,
    `SELECT * FROM ${tables.records} ORDER BY revision`,
    `SELECT gate FROM ${tables.gates}`,
    'COMMIT',
  ]);
  const [, counter, tickets, records, gates] = await rolledBack(read, connection);
  if (flag(counter?.[0], 'is_standby')) throw database.standbyError();
  heard(database, counter?.[0], floor);
  return {
    revision: number(counter?.[0], 'revision'),
    tickets: (tickets ?? []).map(toTicket),
    records: (records ?? []).map(toRecord),
    gates: toGates((gates ?? []).map((row) => text(row, 'gate'))),
  };
}

/** Reads the changes since `seen`. Rejects on a standby. */
export async function readNews(
  database: Database,
  { query }: Connection,
  seen: number,
): Promise<News> {
  const { tables, dialect, signs } = database;
  const floor = signs.revision;
  // A join, so that there is always a first row, also without changes.
  const rows = await query(
    `SELECT ${dialect.isStandby} AS is_standby, counter.revision, change, until_expiry_ms,
       ${database.historyId} AS history
     FROM ${tables.counter} AS counter
     CROSS JOIN (
       SELECT COALESCE(1000 * min(extract(epoch FROM ${dialect.expiry} - clock_timestamp())), 3600000)
         AS until_expiry_ms FROM ${tables.sessions}
     ) AS expiry
     LEFT JOIN ${tables.changes} AS changes ON changes.revision > $1
     ORDER BY changes.revision`,
    [seen],
  );
  const [first] = rows;
  if (flag(first, 'is_standby')) throw database.standbyError();
  heard(database, first, floor);
  const untilExpiryMs = number(first, 'until_expiry_ms');
  const revision = number(first, 'revision');
  if (revision === seen) return { changes: [], untilExpiryMs };
  const changes = rows.filter((row) => row.change !== null).map(toChange);
  const isWhole = changes[0]?.revision === seen + 1 && changes.at(-1)?.revision === revision;
  return { changes: isWhole ? changes : undefined, untilExpiryMs };
}

function heard({ signs }: Database, row: Row | undefined, floor: number): void {
  const id = row?.history;
  signs.heard(typeof id === 'string' ? id : undefined, number(row, 'revision'), floor);
}
