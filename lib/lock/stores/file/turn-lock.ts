import { chmodSync, closeSync, openSync, statSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as pause } from 'node:timers/promises';
import { types } from 'node:util';
import { messageOf } from '../../../running/message-of.ts';
import { StoreUnavailableError } from '../../errors.ts';
import type { LockDirectory } from './directory.ts';
import { flock } from './flock.ts';

/** How long a step waits for others. */
const waitLimitMs = 5000;
const longestPauseMs = 2;

/**
 * The turn of one process to change the state. It is SQLite's lock on a database that stays empty: a lock of the
 * kernel on the file, which needs no helper process, and which the kernel frees at the process's death.
 *
 * Who waits for the turn first takes the lock `next`. So a process that has had the turn can't take it again before
 * another one that waits.
 *
 * Releases of berth before this one lock the file `mutex` for each turn. A store of this release keeps a shared lock
 * on it from its first turn until it is closed, so the two never change one state at a time.
 */
export class TurnLock implements Disposable {
  readonly #paths: LockDirectory;
  #opened: OpenedFiles | undefined;

  constructor(paths: LockDirectory) {
    this.#paths = paths;
  }

  /**
   * Waits for the turn, which lasts until the result is disposed. One call at a time. Rejects
   * `StoreUnavailableError` if others keep it for five seconds.
   */
  async take(): Promise<Disposable> {
    this.#opened ??= await openFiles(this.#paths);
    const { next, turn } = this.#opened;
    const giveUpAt = performance.now() + waitLimitMs;
    using _ = await next.take(giveUpAt);
    return await turn.take(giveUpAt);
  }

  [Symbol.dispose](): void {
    this.#opened?.[Symbol.dispose]();
    this.#opened = undefined;
  }
}

interface OpenedFiles extends Disposable {
  readonly next: LockFile;
  readonly turn: LockFile;
}

/** Rejects `StoreUnavailableError` while a process of an earlier release changes the state. */
async function openFiles({ mutex: path, next, turn }: LockDirectory): Promise<OpenedFiles> {
  using stack = new DisposableStack();
  const mutex = openSync(path, 'a', 0o600);
  stack.defer(() => closeSync(mutex));
  if (!(await flock(mutex, 'shared', { wait: true }))) {
    throw new StoreUnavailableError(
      `a process of an earlier release of berth keeps ${path} locked; fuser -v names it`,
    );
  }
  const files = { next: stack.use(new LockFile(next)), turn: stack.use(new LockFile(turn)) };
  const opened = stack.move();
  return { ...files, [Symbol.dispose]: () => opened.dispose() };
}

/** A file that one process at a time locks. No other code may open it: closing it would free the lock. */
class LockFile implements Disposable {
  readonly #path: string;
  readonly #database: DatabaseSync;
  readonly #inode: string;

  constructor(path: string) {
    this.#path = path;
    this.#database = explaining(path, () => new DatabaseSync(path));
    chmodSync(path, 0o600);
    this.#inode = inodeOf(path);
  }

  async take(giveUpAt: number): Promise<Disposable> {
    while (!explaining(this.#path, () => this.#tryLock())) {
      if (performance.now() > giveUpAt) {
        throw new StoreUnavailableError(
          `another process keeps ${this.#path} locked; lslocks names it`,
        );
      }
      await pause(Math.random() * longestPauseMs);
    }
    const taken = { [Symbol.dispose]: () => this.#database.exec('ROLLBACK') };
    try {
      // If the directory was removed and made again, others lock another file.
      if (inodeOf(this.#path) === this.#inode) return taken;
      throw new StoreUnavailableError(`${this.#path} has been replaced; restart berth`);
    } catch (error) {
      taken[Symbol.dispose]();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }

  #tryLock(): boolean {
    try {
      this.#database.exec('BEGIN IMMEDIATE');
      return true;
    } catch (error) {
      if (isBusy(error)) return false;
      throw error;
    }
  }
}

function inodeOf(path: string): string {
  const { dev, ino } = statSync(path, { bigint: true });
  return `${dev}:${ino}`;
}

function explaining<T>(path: string, step: () => T): T {
  try {
    return step();
  } catch (error) {
    if (resultCode(error) === undefined) throw error;
    throw new StoreUnavailableError(`${path} can't be locked: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** True if another process, or another store of this one, has the lock. */
function isBusy(error: unknown): boolean {
  return [5, 6].includes(resultCode(error) ?? 0);
}

/** Returns SQLite's primary result code. */
function resultCode(error: unknown): number | undefined {
  if (!types.isNativeError(error) || !('errcode' in error)) return undefined;
  return typeof error.errcode === 'number' ? error.errcode & 0xff : undefined;
}
