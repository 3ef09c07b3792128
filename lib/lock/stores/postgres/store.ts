import type { HistoryOptions } from '../history-source.ts';
import { StoreHistory } from '../store-history.ts';
import type { TicketStore } from '../ticket-store.ts';
import type { ConnectionOptions } from './connection-options.ts';
import { Connections } from './connections.ts';
import { Database } from './database.ts';
import type { DialectName } from './dialect.ts';
import { dialects } from './dialect.ts';
import { ChangeFeed } from './feed.ts';
import { Gates } from './gates.ts';
import { PostgresHealth } from './health.ts';
import { TicketQueue } from './queue.ts';
import { Records } from './records.ts';
import { Sessions } from './sessions.ts';
import { StoredPostgresHistory } from './stored-history.ts';

export interface PostgresStoreOptions extends ConnectionOptions {
  /** The schema of the tables. Several stores share a database by schemas. Default `berth`. */
  readonly schema?: string;
  /** The kind of database. Default `postgres`. */
  readonly dialect?: DialectName;
  /** The memory of the database's history, and this host's name; see `StoreHistory`. */
  readonly history?: HistoryOptions;
}

/**
 * Keeps tickets in a PostgreSQL database (14 or newer) or a CockroachDB, for many hosts. Each step
 * is atomic; those of one client that wait share a transaction. Transactions queue behind one row, so revisions
 * and tokens are a total order. The store creates its tables, in a schema of their own, at the first use.
 *
 *     steps ─► WriteSteps ─► BEGIN, lock `counter`, looks │ writes, looks │ …, `changes`, NOTIFY, COMMIT
 *                                                                                 └► Feed ─► watchers
 *
 * Sessions expire by the database's clock. The clock may show any time, but must not be set forward
 * by more than a TTL's margin while locks are held. After an outage of PostgreSQL, each session
 * gets its whole TTL again from the server's start, so locks survive the outage.
 *
 * A restored database, and a standby that was promoted, have another *history* (lib/lock/history.ts): nobody
 * is granted a lock for one TTL, and holders prove theirs or put them back. It is noticed at each new
 * connection, renewal and step. The dialect `cockroach` notices it by the revision alone.
 *
 * Records and gates are as durable as commits: replicate synchronously, or a fail-over may forget some. A
 * pooler between berth and the database must pool sessions, not transactions: with transactions, notifications and
 * the limits of a connection (server-limits.ts) are lost; `health` reports that notifications do not arrive.
 *
 * The dialect `cockroach` (no notifications, SERIALIZABLE, steps repeated at conflicts) uses only
 * statements that both databases know. It is tested on PostgreSQL only, never on a CockroachDB.
 *
 * The store connects at its first use. Omitted options come from libpq's environment variables
 * (PGHOST, PGPASSWORD …). Throws RangeError for a malformed URL and an impossible schema name. A
 * method rejects with a plain `Error` if a newer version of berth created the tables, or if a value
 * can never be stored (a name of several thousand bytes).
 */
export function postgresStore(options: PostgresStoreOptions = {}): TicketStore {
  const dialect = dialects[options.dialect ?? 'postgres'];
  const connections = new Connections(options, dialect);
  const database = new Database(connections, options.schema ?? 'berth', dialect);
  const history = new StoreHistory(new StoredPostgresHistory(database), options.history ?? {});
  database.signs.isVerified = () => history.isVerified;
  database.signs.historyId = () => history.id;
  const sessions = new Sessions(database);
  const queue = new TicketQueue(database, sessions, history);
  const records = new Records(database, sessions);
  const gates = new Gates(database);
  const feed = new ChangeFeed(database, history);
  const health = new PostgresHealth(database, history, feed);
  let isClosed = false;
  const ask = <T>(call: () => Promise<T>) => history.ask(call);
  return {
    name: 'postgres',
    properties: { sessionsExpire: true, sessionsResume: true, multiProcess: true, multiHost: true },
    get historyId() {
      return history.id;
    },
    openSession: (request) =>
      ask(async () => {
        const opened = await sessions.open(request);
        await history.cover(opened.ttlMs);
        return opened;
      }),
    renewSession: (id) => ask(() => sessions.renew(id)),
    closeSession: (id) => ask(() => sessions.close(id)),
    sessionAlive: (id) => ask(() => sessions.isAlive(id)),
    enqueue: (request) => ask(() => queue.enqueue(request)),
    tryEnqueue: (request) => ask(() => queue.tryEnqueue(request)),
    place: (ticket) => ask(() => queue.place(ticket)),
    stands: (ticket) => ask(() => queue.stands(ticket)),
    remove: (ticket, claim, note) => ask(() => queue.remove(ticket, claim, note)),
    commit: (change) => ask(() => records.commit(change)),
    tickets: (lockName) => ask(() => queue.tickets(lockName)),
    record: (key) => ask(() => records.get(key)),
    records: (prefix) => ask(() => records.below(prefix)),
    closeGate: (gate) => ask(() => gates.close(gate)),
    openGate: (lockName) => ask(() => gates.open(lockName)),
    gates: () => ask(() => gates.all()),
    health: () => health.conditions(),
    watch: (watcher) => (isClosed ? { [Symbol.dispose]: () => {} } : feed.follow(watcher)),
    [Symbol.asyncDispose]: async () => {
      if (isClosed) return;
      isClosed = true;
      feed[Symbol.dispose]();
      await history[Symbol.asyncDispose]();
      await connections[Symbol.asyncDispose]();
    },
  };
}
