import type { FSWatcher } from 'node:fs';
import { watch as watchDirectory } from 'node:fs';
import { basename } from 'node:path';
import { types } from 'node:util';
import type { Condition } from '../../condition.ts';
import {
  PermitsDifferError,
  SessionGoneError,
  StoreRefusedError,
  StoreUnavailableError,
} from '../../errors.ts';
import type { Ticket } from '../../ticket.ts';
import { ChangeFeed } from '../change-feed.ts';
import type { ReadFileSystemType } from '../local-file-system.ts';
import type { TicketModel } from '../ticket-model.ts';
import type { Placement, Refused, TicketStore } from '../ticket-store.ts';
import { openLockDirectory } from './directory.ts';
import { explainFileError } from './file-errors.ts';
import { LockedFiles } from './locked-files.ts';
import { Sessions } from './sessions.ts';
import { StateFile } from './state-file.ts';
import { Steps } from './steps.ts';
import { takeOverFormat1 } from './take-over-format-1.ts';
import { TurnLock } from './turn-lock.ts';

export interface FileStoreOptions {
  /** A directory on a local file system; created if missing. */
  readonly directory: string;
  /** Returns the type of the file system, as statfs does. */
  readonly readFileSystemType?: ReadFileSystemType;
}

/**
 * Keeps tickets in a directory, for the processes of one host, with files and the kernel's locks
 * (flock) only. Each step is on disk when it answers, so a crash loses nothing and leaves nothing
 * half done. A program (`flock`) is started once for each session and each store that is opened, and to look
 * whether a process has died; not for a step.
 *
 *     state.json      the whole state, replaced as a whole; readers take no lock
 *     turn/ID         one file per open store, locked by its process
 *     turn/now        a further name of such a file: of the store that changes the state:
 *                     Steps ─► TurnLock ─► TicketModel ─► replace state.json ─► answer
 *     turn/next       likewise: of the store that waits first for its turn
 *     sessions/ID     one file per session, locked by its process while the session lives
 *     mutex           locked once, while the state is taken over from berth 0.1.0
 *
 * A session ends with its process: the kernel frees the lock at that moment, also if the processes
 * can't see each other (containers that share the directory). So a session never expires, a stopped
 * process keeps its locks, and no session can be resumed. A dead process's session is removed as
 * soon as a request would have to wait for it.
 *
 * Rejects with `StoreUnavailableError` if the directory can't be used, and with a plain `Error` if
 * it is not on a file system of one host, or a newer version of berth wrote it.
 */
export async function fileStore(options: FileStoreOptions): Promise<TicketStore> {
  const { directory, readFileSystemType } = options;
  let isClosed = false;
  const attempt = async <T>(step: () => T | Promise<T>): Promise<T> => {
    await Promise.resolve();
    if (isClosed) throw new StoreUnavailableError(`the lock directory ${directory} is closed`);
    try {
      return await step();
    } catch (error) {
      throw asError(explainFileError(error, directory));
    }
  };
  const paths = await attempt(() => openLockDirectory(directory, readFileSystemType));
  const file = new StateFile(paths.state);
  const files = new LockedFiles(paths.sessions);
  const lock = new TurnLock(paths.turn);
  const prepare = () => takeOverFormat1(file, files, paths.mutex);
  const steps = new Steps({ file, lock, prepare });
  const sessions = new Sessions(steps, file, files);
  const feed = new ChangeFeed(file, () => sessions.purgeSoon());
  const inotify = notifyOf(directory, paths.state, () => file.onChange());

  const read = <T>(step: (model: TicketModel) => T) => attempt(() => step(file.model()));
  const write = <T>(step: (model: TicketModel) => T) => attempt(() => steps.take(step));
  /** Repeats `ask` while it drops dead sessions `inTheWay`. A repeat of `ask` must be harmless. */
  const droppingDead = async <T>(ask: () => Promise<T>, inTheWay: (answer: T) => Tickets) => {
    for (;;) {
      const answer = await ask();
      const ids = inTheWay(answer).map(({ session }) => session);
      if (!(await attempt(() => sessions.dropDead(ids)))) return answer;
    }
  };
  /** Takes a step that queues a ticket. The permits of a dead process refuse nobody. */
  const queueing = async <T extends Placement | Refused>(step: (model: TicketModel) => T) => {
    const answer = await droppingDead(
      () => write(step).catch(permitsDiffer),
      (found) =>
        found instanceof PermitsDifferError
          ? file.model().tickets(found.lockName)
          : blockersIn(found),
    );
    if (answer instanceof PermitsDifferError) throw answer;
    return answer;
  };

  const store: TicketStore = {
    name: 'file',
    properties: {
      sessionsExpire: false,
      sessionsResume: false,
      multiProcess: true,
      multiHost: false,
    },
    openSession: (request) => attempt(() => sessions.open(request)),
    renewSession: (id) =>
      attempt(() => {
        if (!sessions.isOpen(id)) throw new SessionGoneError(`session ${id} has ended`);
        return { ttlMs: Number.POSITIVE_INFINITY };
      }),
    closeSession: (id) => attempt(() => sessions.close(id)),
    sessionAlive: (id) => attempt(() => sessions.isAlive(id)),
    enqueue: (request) => queueing((model) => model.enqueue(request)),
    tryEnqueue: (request) => queueing((model) => model.tryEnqueue(request)),
    place: (ticket) => droppingDead(() => read((model) => model.place(ticket)), blockersIn),
    stands: (ticket) => read((model) => model.stands(ticket)),
    remove: (ticket, claim, note) => write((model) => model.remove(ticket, claim, note)),
    commit: (change) => write((model) => model.commit(change)),
    tickets: (lockName) =>
      droppingDead(
        () => read((model) => model.tickets(lockName)),
        (tickets) => tickets,
      ),
    record: (key) => read((model) => model.record(key)),
    records: (prefix) => read((model) => model.records(prefix)),
    closeGate: (gate) => write((model) => model.closeGate(gate)),
    openGate: (lockName) => write((model) => model.openGate(lockName)),
    gates: () => read((model) => model.gates()),
    health: async () => {
      try {
        await attempt(() => steps.take(() => {}, { mustWrite: true }));
        return await attempt(() => sessions.lost().map(lostSession));
      } catch (error) {
        return [{ severity: 'error', message: asError(error).message }];
      }
    },
    watch: (watcher) => (isClosed ? { [Symbol.dispose]: () => {} } : feed.follow(watcher)),
    [Symbol.asyncDispose]: async () => {
      if (isClosed) return;
      isClosed = true;
      feed[Symbol.dispose]();
      inotify?.close();
      await sessions.closeOwn();
      await steps.close();
      lock[Symbol.dispose]();
      files[Symbol.dispose]();
      file[Symbol.dispose]();
    },
  };
  try {
    await attempt(async () => {
      await sessions.purge();
      await sessions.sweep();
    });
  } catch (error) {
    // The first step rejects with it; without a step the state can be read.
    if (!(error instanceof StoreRefusedError)) {
      await store[Symbol.asyncDispose]();
      throw error;
    }
  }
  return store;
}

type Tickets = readonly Ticket[];

function blockersIn(answer: Placement | Refused): Tickets {
  return 'blockers' in answer ? answer.blockers : [];
}

function permitsDiffer(error: unknown): PermitsDifferError {
  if (error instanceof PermitsDifferError) return error;
  throw error;
}

/** Watches the directory for other processes' changes; if that fails, the feed's poll suffices. */
function notifyOf(directory: string, path: string, onChange: () => void): FSWatcher | undefined {
  try {
    const watcher = watchDirectory(directory, { persistent: false }, (_, name) => {
      if (name === basename(path)) onChange();
    });
    return watcher.on('error', () => watcher.close());
  } catch {
    return undefined;
  }
}

function lostSession(id: string): Condition {
  const message = `the file of lock session ${id} was deleted, so its locks stay until the session ends or somebody clears them`;
  return { severity: 'warning', message };
}

function asError(thrown: unknown): Error {
  return types.isNativeError(thrown) ? thrown : new Error(String(thrown));
}
