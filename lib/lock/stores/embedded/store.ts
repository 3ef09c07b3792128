import { existsSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { types } from 'node:util';
import { bootId } from '../../../linux/boot.ts';
import { thisProcess } from '../../../linux/process-identity.ts';
import type { Clock } from '../../../running/clock.ts';
import { systemClock } from '../../../running/clock.ts';
import { StoreUnavailableError } from '../../errors.ts';
import { ChangeFeed } from '../change-feed.ts';
import type { ReadFileSystemType } from '../local-file-system.ts';
import { requireLocalFileSystem } from '../local-file-system.ts';
import type { TicketStore } from '../ticket-store.ts';
import type { WalFile } from './commit-sync.ts';
import { FileGuard } from './file-guard.ts';
import type { FileParts } from './opened-file.ts';
import { OpenedFile } from './opened-file.ts';
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
  /** Returns the type of the file system, as statfs does. */
  readonly readFileSystemType?: ReadFileSystemType;
  /** Opens the log of the file at this path. */
  readonly openWal?: (path: string) => WalFile;
  /**
   * A file in which this host remembers the state of the lock file, for one process at a time. Absent: an
   * older lock file in its place is not noticed.
   */
  readonly memoryPath?: string;
}

/**
 * Keeps tickets in one SQLite file, for the processes of one host. Each step is one transaction that is
 * written when it answers, so a crash loses nothing and leaves nothing half done. What outlives a power
 * cut (records and gates) is on disk then; steps that come together share one sync. The records that a
 * request writes with its ticket (mark, claim) are on their way to the disk when it answers.
 *
 *     step ─ retried while busy ─► LockFile.write ─► BEGIN IMMEDIATE ─► Queue, Sessions, Gates
 *       │                                         └► a row in `changes` ─► ChangeFeed ─► watchers
 *       └─ CommitSync ─► one sync for all that wait ─► answers; tickets alone need none
 *
 * A step that only reads waits for that sync, too: its answer may tell what another one has written.
 * Watchers, and other processes, may see a change before it is on disk; a power cut ends them, too.
 *
 * Sessions don't expire. A dead process's session is removed as soon as a request would have to
 * wait for it, except for a resumable session, which stays until it is resumed or closed, or the
 * host reboots. Processes that can't see each other in /proc (containers with a PID namespace of
 * their own) may share the file, but none of them notices the death of another.
 *
 * With `memoryPath`, a file that was put back to an earlier state, cut off, or replaced is *refused*
 * (file-guard.ts): every call rejects `OtherFileError` until `accept`, or until a new process finds the
 * latest file. Locks that this process holds stay its own meanwhile: nobody else is granted them.
 *
 * Rejects with `StoreUnavailableError` if the file can't be opened, and with a plain `Error` if it is not
 * on a file system of one host, or a newer version of berth wrote it.
 */
export async function embeddedStore(options: EmbeddedStoreOptions): Promise<TicketStore> {
  const { path, clock = systemClock(), readBootId = bootId, memoryPath } = options;
  const attempt = <T>(step: () => T) => persist(step, path, clock);
  const guard =
    memoryPath === undefined ? undefined : new FileGuard(path, memoryPath, readBootId());
  const opened = new OpenedFile(options, thisProcess(readBootId), guard);
  await attempt(() => requireLocalFile(path, options.readFileSystemType));
  await attempt(() => opened.open());
  const feed = new ChangeFeed(opened, () => succeeds(() => opened.parts.purge()));
  let isClosed = false;
  const requireOpen = () => {
    if (isClosed) throw new StoreUnavailableError(`the lock file ${path} is closed`);
  };
  const step = async <T>(take: (parts: FileParts) => T) => {
    const answer = await attempt(() => {
      requireOpen();
      return opened.step(take);
    });
    await opened.parts.file.settled();
    return answer;
  };
  const queueing = async <T>(take: (parts: FileParts) => T) => {
    const { answer, earlier } = await attempt(() => {
      requireOpen();
      return opened.step((parts) => parts.file.queueing(() => take(parts)));
    });
    await earlier;
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
    openSession: (request) => step(({ sessions }) => sessions.open(request)),
    renewSession: (id) =>
      step(({ sessions }) => {
        sessions.check(id);
        return { ttlMs: Number.POSITIVE_INFINITY };
      }),
    closeSession: (id) => step(({ sessions }) => sessions.close(id)),
    sessionAlive: (id) => step(({ sessions }) => sessions.isAlive(id)),
    enqueue: (request) => queueing(({ queue }) => queue.enqueue(request)),
    tryEnqueue: (request) => queueing(({ queue }) => queue.tryEnqueue(request)),
    place: (ticket) => step(({ queue }) => queue.place(ticket)),
    stands: (ticket) => step(({ queue }) => queue.stands(ticket)),
    remove: (ticket, claim, note) => step(({ queue }) => queue.remove(ticket, claim, note)),
    commit: (change) => step(({ queue }) => queue.commit(change)),
    tickets: (lockName) => step(({ queue }) => queue.tickets(lockName)),
    record: (key) => step(({ queue }) => queue.record(key)),
    records: (prefix) => step(({ queue }) => queue.records(prefix)),
    closeGate: (gate) => step(({ gates }) => gates.close(gate)),
    openGate: (lockName) => step(({ gates }) => gates.open(lockName)),
    gates: () => step(({ gates }) => gates.all()),
    health: () =>
      step(({ file }) => file.check()).then(
        () => [],
        (error) => [{ severity: 'error', message: error.message }],
      ),
    accept: async () => {
      if (isClosed || !(await attempt(() => opened.accept()))) return false;
      feed.restart();
      await step(({ purge }) => purge());
      return true;
    },
    watch: (watcher) => {
      const watching = isClosed
        ? []
        : [opened.onRefused((change) => watcher.historyChanged?.(change)), feed.follow(watcher)];
      return {
        [Symbol.dispose]: () => {
          for (const part of watching) part[Symbol.dispose]();
        },
      };
    },
    [Symbol.asyncDispose]: async () => {
      if (isClosed) return;
      isClosed = true;
      feed[Symbol.dispose]();
      await opened[Symbol.asyncDispose]();
    },
  };
  // Sessions of an earlier boot are gone before the first step.
  if (!opened.isRefused) await step(({ purge }) => purge());
  return store;
}

/** Creates the file's directory if missing. Throws if the file is not, or would not be, on a local file system. */
function requireLocalFile(path: string, readType: ReadFileSystemType | undefined): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const at = existsSync(path) ? path : dirname(path);
  requireLocalFileSystem(`the lock file ${path}`, at, readType);
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
  return types.isNativeError(thrown) ? thrown : new Error(String(thrown));
}
