import { setTimeout as pause } from 'node:timers/promises';
import { messageOf } from '../../../running/message-of.ts';
import type { Condition } from '../../condition.ts';
import type { StoreHistory } from '../store-history.ts';
import type { Database } from './database.ts';
import { number, text } from './rows.ts';

/** How long a notification may take. */
const notificationLimitMs = 2_000;
/** A notification of a revision that every client has seen: it wakes none. */
const seenByAll = '0';

type History = Pick<StoreHistory<never>, 'ask' | 'conditions'>;

/** Implements `TicketStore.health`. */
export async function healthOf(
  database: Database,
  history: History,
): Promise<readonly Condition[]> {
  try {
    const own = await history.ask(() => conditions(database));
    const found = [...own, ...(await notificationConditions(database, history))];
    return [
      ...found.map((message) => ({ severity: 'warning' as const, message })),
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

async function notificationConditions(database: Database, history: History): Promise<string[]> {
  const { server, dialect } = database;
  if (!dialect.notifies || (await isNotified(database, history))) return [];
  return [
    `${server} passes no notifications on, so waiting requests get their locks up to ${dialect.pollMs} ms later; a pooler in front of it (PgBouncer) has to pool sessions, not transactions`,
  ];
}

/** A pooler of transactions forgets who listens: it gives the connection of the server to another client. */
async function isNotified(database: Database, history: History): Promise<boolean> {
  const arrived = Promise.withResolvers<true>();
  // Not within `ask`: each new connection may lead to a server with another history, which is then looked at.
  await using _ = await database.open((payload) => {
    if (payload === seenByAll) arrived.resolve(true);
  });
  // The channel has the name of the schema, which stands quoted in statements.
  const channel = database.tables.schema.slice(1, -1).replaceAll('""', '"');
  await history.ask(() =>
    database.read('pg_notify($1, $2)::text AS notified', [channel, seenByAll]),
  );
  const over = new AbortController();
  const late = pause(notificationLimitMs, false, { signal: over.signal }).catch(() => false);
  try {
    return await Promise.race([arrived.promise, late]);
  } finally {
    over.abort();
  }
}
