import { setTimeout as pause } from 'node:timers/promises';
import { messageOf } from '../../../running/message-of.ts';
import type { Condition } from '../../condition.ts';
import type { StoreHistory } from '../store-history.ts';
import type { Database } from './database.ts';
import type { ChangeFeed } from './feed.ts';
import { number, text } from './rows.ts';

/** How long a notification may take. */
const notificationLimitMs = 2_000;
/** A notification of a revision that every client has seen: it wakes none. */
const seenByAll = '0';

type History = Pick<StoreHistory<never>, 'ask' | 'conditions'>;

/** Present and expected faults of a database. */
export class PostgresHealth {
  readonly #database: Database;
  readonly #history: History;
  readonly #feed: Pick<ChangeFeed, 'hear'>;
  /** Notifications arrived on a connection that was opened to find out. */
  #haveArrived = false;

  constructor(database: Database, history: History, feed: Pick<ChangeFeed, 'hear'>) {
    this.#database = database;
    this.#history = history;
    this.#feed = feed;
  }

  /** Implements `TicketStore.health`. */
  async conditions(): Promise<readonly Condition[]> {
    try {
      const own = await this.#history.ask(() => conditions(this.#database));
      const found = [...own, ...(await this.#notifications())];
      return [
        ...found.map((message) => ({ severity: 'warning' as const, message })),
        ...(await this.#history.conditions()),
      ];
    } catch (error) {
      return [{ severity: 'error', message: messageOf(error) }];
    }
  }

  async #notifications(): Promise<string[]> {
    const { server, dialect } = this.#database;
    if (!dialect.notifies) return [];
    try {
      if (await this.#isNotified()) return [];
    } catch (error) {
      // It says nothing of the locks, and hides none of the other conditions.
      return [
        `the look at whether ${server} passes notifications on has failed: ${messageOf(error)}`,
      ];
    }
    return [
      `${server} passes no notifications on, so waiting requests get their locks up to ${dialect.pollMs} ms later; a pooler in front of it (PgBouncer) has to pool sessions, not transactions`,
    ];
  }

  /**
   * A pooler of transactions forgets who listens: it gives the connection of the server to another client. The
   * connection of the feed shows it. Without one, another is opened until notifications have arrived once: each new
   * connection may lead to a server with another history, for which all steps then wait.
   */
  async #isNotified(): Promise<boolean> {
    const arrived = Promise.withResolvers<true>();
    const notice = (payload?: string) => {
      if (payload === seenByAll) arrived.resolve(true);
    };
    using hearing = this.#feed.hear(notice);
    if (!hearing && this.#haveArrived) return true;
    // Not within `ask`: the history is looked at after each new connection.
    await using _ = hearing ? undefined : await this.#database.open(notice);
    const { schema } = this.#database.tables;
    // The channel has the name of the schema, which stands quoted in statements.
    const channel = schema.slice(1, -1).replaceAll('""', '"');
    await this.#history.ask(() =>
      this.#database.read('pg_notify($1, $2)::text AS notified', [channel, seenByAll]),
    );
    const over = new AbortController();
    const late = pause(notificationLimitMs, false, { signal: over.signal }).catch(() => false);
    try {
      const isNotified = await Promise.race([arrived.promise, late]);
      this.#haveArrived ||= isNotified;
      return isNotified;
    } finally {
      over.abort();
    }
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
