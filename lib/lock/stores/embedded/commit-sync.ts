import { closeSync, fdatasync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { diskProblem } from '../../../running/disk-problem.ts';
import { StoreUnavailableError } from '../../errors.ts';
import { syncDirectory } from './sync-directory.ts';

const flush = promisify(fdatasync);

/** SQLite's log of commits (`-wal`), which the connection has opened. */
export interface WalFile extends Disposable {
  /** Resolves when all commits that were made before the call are on disk. */
  sync(): Promise<void>;
}

/**
 * Opens the log of the database at a path. Throws StoreUnavailableError. SQLite has no lock on this
 * file, so that closing it here releases none. The file keeps its inode while a connection is open.
 */
export function walFile(path: string): WalFile {
  try {
    syncDirectory(dirname(path)); // SQLite has made the file, and would sync its name later.
    const fd = openSync(`${path}-wal`, 'r');
    return { sync: () => flush(fd), [Symbol.dispose]: () => closeSync(fd) };
  } catch (error) {
    throw unusable(path, error);
  }
}

function unusable(path: string, error: unknown): StoreUnavailableError {
  const message = `the lock file ${path} can't be used: ${diskProblem(error)}`;
  return new StoreUnavailableError(message, { cause: error });
}

/**
 * Brings commits to disk, beside the main thread, and one sync for all that wait.
 *
 *     commit ─┐
 *     commit ─┼─▶ one sync ─▶ all of them are answered
 *     commit ─┘   what is committed meanwhile shares the next one
 *
 * After a failed sync nobody knows what of the log is on disk, also if the next sync succeeds. So
 * nothing is answered until SQLite has copied the log into the database (a checkpoint).
 */
export class CommitSync implements Disposable {
  readonly #path: string;
  readonly #file: WalFile;
  readonly #checkpoint: () => void;
  /** The number of commits, and of those that are on disk. */
  #commits = 0;
  #onDisk = 0;
  #running: Promise<void> | undefined;
  #mustCheckpoint = false;

  /** `checkpoint` copies the log into the database, syncs that, and empties the log; or it throws. */
  constructor(path: string, file: WalFile, checkpoint: () => void) {
    this.#path = path;
    this.#file = file;
    this.#checkpoint = checkpoint;
  }

  /** Records that the connection has committed a change. */
  committed(): void {
    this.#commits += 1;
  }

  /** The number of changes that the connection has committed. */
  get commits(): number {
    return this.#commits;
  }

  /** Begins to bring to disk what is committed. If that fails, the next step repairs it or says so. */
  begin(): void {
    this.settled().catch(() => {});
  }

  /** Makes good a failed sync; call it before a step. Throws SQLite's error when it can't. */
  repair(): void {
    if (!this.#mustCheckpoint) return;
    this.#checkpoint();
    this.#mustCheckpoint = false;
    this.#onDisk = this.#commits;
  }

  /**
   * Resolves when the first so many changes that this connection has committed are on disk; all, by default.
   * Rejects StoreUnavailableError when the disk refuses that: whether the commits outlive a power cut is then
   * unknown.
   */
  async settled(wanted = this.#commits): Promise<void> {
    while (this.#onDisk < wanted) {
      this.#running ??= this.#sync().finally(() => {
        this.#running = undefined;
      });
      await this.#running; // One that began before the last commit is followed by another one.
    }
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }

  async #sync(): Promise<void> {
    const commits = this.#commits;
    try {
      if (this.#mustCheckpoint) throw new Error('a sync before this one has failed');
      await this.#file.sync();
      this.#onDisk = Math.max(this.#onDisk, commits);
    } catch (error) {
      this.#mustCheckpoint = true;
      throw unusable(this.#path, error);
    }
  }
}
