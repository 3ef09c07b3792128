import { thisProcess } from '../../../linux/process-identity.ts';
import type { Clock } from '../../../running/clock.ts';
import { systemClock } from '../../../running/clock.ts';
import { StoreUnavailableError } from '../../errors.ts';
import { ChangeFeed } from '../change-feed.ts';
import type { TicketStore } from '../ticket-store.ts';
import type { WalFile } from './commit-sync.ts';
import { Gates } from './gates.ts';
import { LockFile } from './lock-file.ts';
import { TicketQueue } from './queue.ts';
import { Sessions } from './sessions.ts';
import { explainSqlite, isBusy } from './sqlite-errors.ts';

/** How long a step waits for the file while other processes use it. Then nothing is written. */
const busyLimitMs = 5000;
const busyPauseMs = 10;

export interface EmbeddedStoreOptions {
  /** The file, on a local file system. Its directory is created if missing. */
  readonly path: string;
  readonly clock?: Clock;
  /** Returns the id of the running boot. */
  readonly readBootId?: () => string;
  /** Opens the log of the file at this path. */
  readonly openWal?: (path: string) => WalFile;
}

/**
 * Keeps tickets in one SQLite file, for the processes of one host. Each step is one transaction
 * that is on disk when it answers, so a crash loses nothing and leaves nothing half done. Steps that
 * come together share one sync.
 *
 *     step ─ retried while busy ─► LockFile.write ─► BEGIN IMMEDIATE ─► Queue, Sessions, Gates
 *       │                                         └► a row in `changes` ─► ChangeFeed ─► watchers
 *       └─ CommitSync ─► one sync for all that wait ─► answers
 *
 * A step that only reads waits for that sync, too: its answer may tell what another one has written.
 * Watchers, and other processes, may see a change before it is on disk; a power cut ends them, too.
 *
 * Sessions don't expire. A dead process's session is removed as soon as a request would have to
 * wait for it, except for a resumable session, which stays until it is resumed or closed, or the
 * host reboots. Processes that can't see each other in /proc (containers with a PID namespace of
 * their own) may share the file, but none of them notices the death of another.
 *
 * Rejects with `StoreUnavailableError` if the file can't be opened, and with a plain `Error` if a
 * newer version of berth wrote it.
 */
export async function embeddedStore(options: EmbeddedStoreOptions): Promise<TicketStore> {
  const { path, clock = systemClock(), readBootId, openWal } = options;
  const attempt = <T>(step: () => T) => persist(step, path, clock);
  const file = await attempt(() => new LockFile(path, openWal));
  const sessions = new Sessions(file, thisProcess(readBootId));
  const gates = new Gates(file);
  const queue = new TicketQueue(file, sessions, gates);
  const purge = () => {
    if (sessions.hasDead()) file.write((effects) => sessions.dropDead(effects));
  };
  const feed = new ChangeFeed(file, () => succeeds(purge));
  let isClosed = false;
  const step = async <T>(take: () => T) => {
    const answer = await attempt(() => {
      if (isClosed) throw new StoreUnavailableError(`the lock file ${path} is closed`);
      file.repair();
      return take();
    });
    await file.settled();
    return answer;
  };
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
    remove: (ticket, claim) => step(() => queue.remove(ticket, claim)),
    commit: (change) => step(() => queue.commit(change)),
    tickets: (lockName) => step(() => queue.tickets(lockName)),
    record: (key) => step(() => queue.record(key)),
    records: (prefix) => step(() => queue.records(prefix)),
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
      // Steps that are waiting for it answer before.
      await file.settled().catch(() => {});
      file.close();
    },
  };
  // Sessions of an earlier boot are gone before the first step.
  await step(purge);
  return store;
}

/** Runs a step; retries without blocking the process while others use the file. */
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
    // The next step of a caller reports the fault.
    return false;
  }
}

function asError(thrown: unknown): Error {
  return Error.isError(thrown) ? thrown : new Error(String(thrown));
}
