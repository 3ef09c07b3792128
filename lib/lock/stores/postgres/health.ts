import { messageOf } from '../../../running/message-of.ts';
import type { Condition } from '../../condition.ts';
import type { StoreHistory } from '../store-history.ts';
import type { Database } from './database.ts';
import { number, text } from './rows.ts';

/** Implements `TicketStore.health`. */
export async function healthOf(
  database: Database,
  history: Pick<StoreHistory<never>, 'ask' | 'conditions'>,
): Promise<readonly Condition[]> {
  try {
    const own = await history.ask(() => conditions(database));
    return [
      ...own.map((message) => ({ severity: 'warning' as const, message })),
      ...(await history.conditions()),
    ];
  } catch (error) {
    return [{ severity: 'error', message: messageOf(error) }];
  }
}

async function conditions(database: Database): Promise<string[]> {
  // An empty writing step finds out whether the database accepts writes.
  await database.dropExpired();
  const { server, dialect } = database;
  if (!dialect.notifies) return [];
  const row = await database.read(
    `current_setting('fsync') AS fsync, current_setting('server_encoding') AS encoding,
     current_setting('synchronous_standby_names') AS synchronous,
     (SELECT count(*) FROM pg_stat_replication) AS standbys`,
  );
  return [
    text(row, 'fsync') === 'on'
      ? []
      : `${server} does not wait for its disk (fsync is off): after a power cut locks may be held twice; turn it on`,
    text(row, 'encoding') === 'UTF8'
      ? []
      : `${server} has the encoding ${text(row, 'encoding')}: names with other characters are refused; use a database in UTF8`,
    number(row, 'standbys') === 0 || text(row, 'synchronous') !== ''
      ? []
      : `${server} does not wait for its standbys: after a fail-over locks may be held twice; set synchronous_standby_names`,
  ].flat();
}
