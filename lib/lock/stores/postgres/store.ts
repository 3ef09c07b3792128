import type { TicketStore } from '../ticket-store.ts';
import type { ConnectionOptions } from './connections.ts';
import { Connections } from './connections.ts';
import { Database } from './database.ts';
import type { DialectName } from './dialect.ts';
import { dialects } from './dialect.ts';
import { ChangeFeed } from './feed.ts';
import { Gates } from './gates.ts';
import { healthOf } from './health.ts';
import { TicketQueue } from './queue.ts';
import { Records } from './records.ts';
import { Sessions } from './sessions.ts';

export interface PostgresStoreOptions extends ConnectionOptions {
  /** The schema of the tables. Several stores share a database by schemas. Default `berth`. */
  readonly schema?: string;
  /** The kind of database. Default `postgres`. */
  readonly dialect?: DialectName;
}

/**
 * Keeps tickets in a PostgreSQL database (14 or newer) or a CockroachDB, for many hosts. Each step
 * is one transaction. Writing steps queue behind one row, so revisions and tokens are a total
 * order. The store creates its tables, in a schema of their own, at the first use.
 *
 *     step ─► Turns ─► Connections: BEGIN, lock `counter`, look │ writes, `changes`, NOTIFY, COMMIT
 *                                                               └► Feed ─► watchers
 *
 * Sessions expire by the database's clock. The clock may show any time, but must not be set forward
 * by more than a TTL's margin while locks are held. After an outage of PostgreSQL, each session
 * gets its whole TTL again from the server's start, so locks survive the outage.
 *
 * Locks are as durable as commits: replicate synchronously, or a fail-over may forget holders. A
 * pooler between berth and the database must pool sessions, not transactions.
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
  const sessions = new Sessions(database);
  const queue = new TicketQueue(database);
  const records = new Records(database);
  const gates = new Gates(database);
  const feed = new ChangeFeed(database);
  let isClosed = false;
  return {
    name: 'postgres',
    properties: { sessionsExpire: true, sessionsResume: true, multiProcess: true, multiHost: true },
    openSession: (request) => sessions.open(request),
    renewSession: (id) => sessions.renew(id),
    closeSession: (id) => sessions.close(id),
    sessionAlive: (id) => sessions.isAlive(id),
    enqueue: (request) => queue.enqueue(request),
    tryEnqueue: (request) => queue.tryEnqueue(request),
    place: (ticket) => queue.place(ticket),
    stands: (ticket) => queue.stands(ticket),
    remove: (ticket, claim) => queue.remove(ticket, claim),
    commit: (change) => records.commit(change),
    tickets: (lockName) => queue.tickets(lockName),
    record: (key) => records.get(key),
    records: (prefix) => records.below(prefix),
    closeGate: (gate) => gates.close(gate),
    openGate: (lockName) => gates.open(lockName),
    gates: () => gates.all(),
    health: () => healthOf(database),
    watch: (watcher) => (isClosed ? { [Symbol.dispose]: () => {} } : feed.follow(watcher)),
    [Symbol.asyncDispose]: async () => {
      if (isClosed) return;
      isClosed = true;
      feed[Symbol.dispose]();
      await connections[Symbol.asyncDispose]();
    },
  };
}
