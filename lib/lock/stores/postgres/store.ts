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
  /** Where the tables are. Several stores share a database, each in its schema. Default `berth`. */
  readonly schema?: string;
  /** Which database it is. Default `postgres`. */
  readonly dialect?: DialectName;
}

/**
 * Tickets in a PostgreSQL database (14 or newer), or in a CockroachDB. Each step is one transaction;
 * those that write queue up behind one row, so that revisions and tokens are a total order. The
 * tables, in a schema of their own, are made at the first use.
 *
 * Sessions expire by the database's clock, which may run at any time of day but must not be set
 * forward by more than a TTL's margin while locks are held. When PostgreSQL was down, each session
 * gets its whole TTL again from the server's start, so that locks outlive an outage of the server.
 *
 * Locks are as safe as what is committed: replicate synchronously, or a fail-over may forget who
 * holds what. A pooler between berth and the database has to pool sessions, not transactions.
 *
 * The dialect `cockroach` (no notifications, SERIALIZABLE, steps repeated at conflicts) uses only
 * statements that both databases know. It has been tested on PostgreSQL alone, never on a CockroachDB.
 *
 * Connects when it is first used. What the options and the URL leave out is taken from libpq's
 * environment variables (PGHOST, PGPASSWORD …). Throws RangeError for a URL that can't be read and a
 * schema that can't be named. A method rejects with a plain `Error` when a newer version of berth
 * made the tables, and when a value can't ever be stored (a name of several thousand bytes).
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
    remove: (ticket) => queue.remove(ticket),
    commit: (change) => records.commit(change),
    tickets: (lockName) => queue.tickets(lockName),
    record: (key) => records.get(key),
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
