import { thisProcess } from '../../../linux/process-identity.ts';
import type { Clock } from '../../../running/clock.ts';
import { systemClock } from '../../../running/clock.ts';
import { StoreUnavailableError } from '../../errors.ts';
import { ChangeFeed } from '../change-feed.ts';
import type { TicketStore } from '../ticket-store.ts';
import { Gates } from './gates.ts';
import { LockFile } from './lock-file.ts';
import { TicketQueue } from './queue.ts';
import { Sessions } from './sessions.ts';
import { explainSqlite, isBusy } from './sqlite-errors.ts';

/** How long other processes may keep the file before a step gives up. Nothing is then written. */
const busyLimitMs = 5000;
const busyPauseMs = 10;

export interface EmbeddedStoreOptions {
  /** The file; its directory is made when it is not there. It must be on a local file system. */
  readonly path: string;
  readonly clock?: Clock;
  /** Reads the name of the running boot. */
  readonly readBootId?: () => string;
}

/**
 * Tickets in one SQLite file, for the processes of one host. Each step is one transaction that is
 * on disk when it answers, so a crash loses nothing and leaves nothing half done.
 *
 * Sessions don't expire. What a process that ended has left is dropped as soon as somebody would
 * have to wait for it, except for resumable sessions, which stay until they are resumed, closed, or
 * the host is booted again. Processes that can't see each other in /proc (containers with a PID
 * namespace of their own) may share the file, but then none of them can tell that another died.
 *
 * Rejects with `StoreUnavailableError` when the file can't be opened, and with a plain `Error` when
 * a newer version of berth wrote it.
 */
export async function embeddedStore(options: EmbeddedStoreOptions): Promise<TicketStore> {
  const { path, clock = systemClock(), readBootId } = options;
  const attempt = <T>(step: () => T) => persist(step, path, clock);
  const file = await attempt(() => new LockFile(path));
  const sessions = new Sessions(file, thisProcess(readBootId));
  const gates = new Gates(file);
  const queue = new TicketQueue(file, sessions, gates);
  const purge = () => {
    if (sessions.hasDead()) file.write((effects) => sessions.dropDead(effects));
  };
  const feed = new ChangeFeed(file, () => succeeds(purge));
  let isClosed = false;
  const step = <T>(take: () => T) =>
    attempt(() => {
      if (isClosed) throw new StoreUnavailableError(`the lock file ${path} is closed`);
      return take();
    });
  const store: TicketStore = {
    name: 'embedded',
    properties: {
      sessionsExpire: false,
      sessionsResume: true,
      multiProcess: true,
      multiHost: false,
    },
    openSession: (request) => step(() => sessions.open(request)),
    renewSession: (id) =>
      step(() => {
        sessions.check(id);
        return { ttlMs: Number.POSITIVE_INFINITY };
      }),
    closeSession: (id) => step(() => sessions.close(id)),
    sessionAlive: (id) => step(() => sessions.isAlive(id)),
    enqueue: (request) => step(() => queue.enqueue(request)),
    tryEnqueue: (request) => step(() => queue.tryEnqueue(request)),
    place: (ticket) => step(() => queue.place(ticket)),
    stands: (ticket) => step(() => queue.stands(ticket)),
    remove: (ticket) => step(() => queue.remove(ticket)),
    commit: (change) => step(() => queue.commit(change)),
    tickets: (lockName) => step(() => queue.tickets(lockName)),
    record: (key) => step(() => queue.record(key)),
    closeGate: (gate) => step(() => gates.close(gate)),
    openGate: (lockName) => step(() => gates.open(lockName)),
    gates: () => step(() => gates.all()),
    health: () =>
      step(() => file.check()).then(
        () => [],
        (error) => [{ severity: 'error', message: error.message }],
      ),
    watch: (watcher) => (isClosed ? { [Symbol.dispose]: () => {} } : feed.follow(watcher)),
    [Symbol.asyncDispose]: async () => {
      if (isClosed) return;
      isClosed = true;
      feed[Symbol.dispose]();
      file.close();
    },
  };
  // What an earlier boot has left is gone from the first moment.
  await step(purge);
  return store;
}

/** Tries again, without blocking the process, while others keep the file. */
async function persist<T>(step: () => T, path: string, clock: Clock): Promise<T> {
  let giveUpAt: number | undefined;
  await Promise.resolve();
  for (;;) {
    try {
      return step();
    } catch (error) {
      giveUpAt ??= clock.now() + busyLimitMs;
      if (!isBusy(error) || clock.now() >= giveUpAt) throw asError(explainSqlite(error, path));
    }
    await clock.sleep(Math.random() * busyPauseMs);
  }
}

function succeeds(step: () => void): boolean {
  try {
    step();
    return true;
  } catch {
    // Whoever needs the file for more than this is told what is wrong with it.
    return false;
  }
}

function asError(thrown: unknown): Error {
  return Error.isError(thrown) ? thrown : new Error(String(thrown));
}
