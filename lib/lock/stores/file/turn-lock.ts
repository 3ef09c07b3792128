import type { BigIntStats } from 'node:fs';
import {
  closeSync,
  existsSync,
  fstatSync,
  linkSync,
  mkdirSync,
  rmSync,
  statSync,
  unlinkSync,
} from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { hasCode } from '../../../linux/error-code.ts';
import { StoreUnavailableError } from '../../errors.ts';
import type { TurnPaths } from './directory.ts';
import { flock, isListedAsLocked } from './flock.ts';
import { describeProcess, LockedFiles, openIfThere } from './locked-files.ts';

/** How long a step waits for others. */
const waitLimitMs = 5000;
/** How long one that waits is let go first. It may be stopped or dead. */
const courtesyMs = 200;
/** How long another has the turn before this process looks whether that one has died; and again after as long. */
const lookAfterMs = 50;
const longestPauseMs = 2;

/** The turn, until it is disposed. */
export interface Turn extends Disposable {
  /** Throws `StoreUnavailableError` if others may have the turn by now. Only mistakes of people and programs lead to that. */
  confirm(): void;
}

/** The file of this store, which the kernel locks for it. */
interface OwnFile {
  readonly id: string;
  readonly path: string;
  readonly stats: BigIntStats;
}

/**
 * The turn of one store at a time to change the state; without a program, which Node would need to lock a file.
 *
 * Each store has one file in the folder `turn`, locked as long as the store is open. It takes the turn by giving that
 * file the further name `now`, which the file system gives to one file only (link(2)), and ends it by removing the name.
 * If the process dies meanwhile, the kernel unlocks the file. So another process that gets the lock of the file `now`
 * knows that no living process has the turn, and removes the name. It holds that lock until then, so only one
 * does, and nobody can give the name to another file in between.
 *
 * Nothing here depends on time: a process that is stopped keeps the turn. The lock belongs to the open file, so other
 * code of the process may open and close all files. Who can't write in the folder gets an error, and no turn.
 *
 * Who waits first gives its file also the name `next`; as long as that exists, nobody else begins. So a process
 * with many steps leaves the turn to others in between. That is an order and no condition: after a while `next` is
 * taken from whoever has it.
 */
export class TurnLock implements Disposable {
  readonly #paths: TurnPaths;
  readonly #files: LockedFiles;
  #own: OwnFile | undefined;

  constructor(paths: TurnPaths) {
    this.#paths = paths;
    this.#files = new LockedFiles(paths.folder);
  }

  /**
   * Waits for the turn. One call at a time, after the turn before has ended. Rejects `StoreUnavailableError` if
   * others keep the turn for five seconds.
   */
  async take(): Promise<Turn> {
    for (;;) {
      const own = await this.#ownFile();
      try {
        await this.#takeAs(own);
        return { confirm: () => this.#confirm(own), [Symbol.dispose]: () => this.#release(own) };
      } catch (error) {
        // It may have the turn already: the removal of `next` comes after that.
        this.#release(own);
        // Before it was locked, another process took the own file for a left-over and removed it.
        if (!hasCode(error, 'ENOENT') || existsSync(own.path)) throw error;
        this.#forget();
      }
    }
  }

  [Symbol.dispose](): void {
    if (this.#own === undefined) return;
    try {
      this.#files.delete(this.#own.id);
    } catch {
      // Whoever opens the directory next removes the file, which is no longer locked.
    }
    this.#own = undefined;
  }

  async #ownFile(): Promise<OwnFile> {
    // Without its lock, others would take this process for dead.
    if (this.#own !== undefined && !this.#files.holds(this.#own.id)) this.#forget();
    this.#own ??= await this.#createFile();
    return this.#own;
  }

  async #createFile(): Promise<OwnFile> {
    makeFolder(this.#paths.folder);
    const id = await this.#files.create({});
    try {
      for (const left of await this.#files.deadAmong(this.#files.all())) this.#files.delete(left);
    } catch (error) {
      this.#files.delete(id);
      throw error;
    }
    return { id, path: this.#files.path(id), stats: this.#files.stats(id) };
  }

  async #takeAs(own: OwnFile): Promise<void> {
    const { now, next } = this.#paths;
    if (!existsSync(next) && tryLink(own, now)) return;
    const giveUpAt = performance.now() + waitLimitMs;
    await this.#becomeNext(own, giveUpAt);
    try {
      await this.#waitForTurn(own, giveUpAt);
    } finally {
      removeIfOf(own, next);
    }
  }

  async #becomeNext(own: OwnFile, giveUpAt: number): Promise<void> {
    const { next } = this.#paths;
    const seen = new Sighting(next);
    while (performance.now() < giveUpAt && !tryLink(own, next)) {
      if (seen.hasLasted(courtesyMs)) rmSync(next, { force: true });
      else await pause(Math.random() * longestPauseMs);
    }
  }

  async #waitForTurn(own: OwnFile, giveUpAt: number): Promise<void> {
    const { now } = this.#paths;
    const seen = new Sighting(now);
    while (!tryLink(own, now)) {
      if (performance.now() > giveUpAt) throw this.#keptByOther();
      if (seen.hasLasted(lookAfterMs)) await removeIfDead(now);
      else await pause(Math.random() * longestPauseMs);
    }
  }

  #confirm(own: OwnFile): void {
    if (this.#files.holds(own.id) && isOf(own, this.#paths.now)) return;
    throw new StoreUnavailableError(
      `nothing was written: ${this.#paths.now} or its lock was taken from this process; no other code may delete that file or close its descriptor`,
    );
  }

  #release(own: OwnFile): void {
    try {
      removeIfOf(own, this.#paths.now);
    } catch {
      // As on a full btrfs. Without the lock of its file, the turn is like that of a dead process: others end it.
      this.#forget();
    }
  }

  #forget(): void {
    if (this.#own !== undefined) this.#files.release(this.#own.id);
    this.#own = undefined;
  }

  #keptByOther(): StoreUnavailableError {
    const { now } = this.#paths;
    return new StoreUnavailableError(
      `${describeProcess(now)} has been changing the state for more than ${waitLimitMs / 1000} s; ` +
        `if it is stopped, continue or end it (fuser -v ${now} names it)`,
    );
  }
}

/** How long a name has been one and the same file's. */
class Sighting {
  readonly #path: string;
  #file: string | undefined;
  #since = performance.now();

  constructor(path: string) {
    this.#path = path;
    this.#file = identityOf(path);
  }

  /** True if the name has been one file's for so long; then it begins to count from the start. */
  hasLasted(ms: number): boolean {
    const file = identityOf(this.#path);
    const hasLasted = file === this.#file && performance.now() - this.#since > ms;
    if (hasLasted || file !== this.#file) this.#since = performance.now();
    this.#file = file;
    return hasLasted;
  }
}

/** The parent is not made: it exists, or has been removed. */
function makeFolder(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
  }
}

/** Gives the own file a further name; false if there is a file of that name. */
function tryLink(own: OwnFile, path: string): boolean {
  try {
    linkSync(own.path, path);
    return true;
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return false;
    throw error;
  }
}

/** `next` may be taken away at the same moment. */
function removeIfOf(own: OwnFile, path: string): void {
  if (isOf(own, path)) rmSync(path, { force: true });
}

function isOf({ stats }: OwnFile, path: string): boolean {
  return identity(stats) === identityOf(path);
}

/** Removes the name if no living process has locked its file. */
async function removeIfDead(path: string): Promise<void> {
  const descriptor = openIfThere(path);
  if (descriptor === undefined) return;
  try {
    if (isListedAsLocked(descriptor)) return;
    if (!(await flock(descriptor, 'exclusive', { wait: false }))) return;
    // Another process may have removed it and somebody taken the turn, before this one got the lock.
    if (identity(fstatSync(descriptor, { bigint: true })) === identityOf(path)) unlinkSync(path);
  } finally {
    closeSync(descriptor);
  }
}

/** Undefined if there is no such file. No other file has the identity of one that is open. */
function identityOf(path: string): string | undefined {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stats && identity(stats);
}

function identity({ dev, ino }: BigIntStats): string {
  return `${dev}:${ino}`;
}
