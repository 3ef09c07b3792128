import { randomUUID } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import {
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { hasCode } from '../../../linux/error-code.ts';
import { StoreUnavailableError } from '../../errors.ts';
import { flock, holdsLock, isListedAsLocked } from './flock.ts';

interface OwnFile {
  readonly descriptor: number;
  readonly stats: BigIntStats;
}

/**
 * One file per session, or per open store, locked by its process. The kernel frees the lock when the process
 * ends, in whatever way. So a process that gets the lock knows that the owner of the file is dead, and a living
 * owner never counts as dead.
 *
 * Ids are never reused, so a file may be deleted once nothing names it.
 */
export class LockedFiles implements Disposable {
  readonly #directory: string;
  /** The files that this object has created. */
  readonly #own = new Map<string, OwnFile>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Creates and locks a new file; returns its id. `says` is for people who read the file. */
  async create(says: Readonly<Record<string, string | undefined>>): Promise<string> {
    const id = randomUUID();
    const descriptor = openSync(this.path(id), 'wx', 0o600);
    let stats: BigIntStats;
    try {
      stats = fstatSync(descriptor, { bigint: true });
      const holder = { ...says, pid: process.pid, since: new Date().toISOString() };
      writeSync(descriptor, `${JSON.stringify(holder)}\n`);
      if (!(await flock(descriptor, 'exclusive', { wait: true }))) {
        throw new StoreUnavailableError(`another process has locked ${this.path(id)}`);
      }
    } catch (error) {
      closeSync(descriptor);
      throw error;
    }
    this.#own.set(id, { descriptor, stats });
    return id;
  }

  /** Returns the own files that were not released. */
  own(): readonly string[] {
    return [...this.#own.keys()];
  }

  /** True if an own file is locked. */
  holds(id: string): boolean {
    const own = this.#own.get(id);
    return own !== undefined && isOpen(own) && holdsLock(own.descriptor);
  }

  has(id: string): boolean {
    return existsSync(this.path(id));
  }

  path(id: string): string {
    return join(this.#directory, id);
  }

  /** Returns the stats of an own file. */
  stats(id: string): BigIntStats {
    const own = this.#own.get(id);
    if (own === undefined) throw new Error(`the file ${this.path(id)} is not this store's`);
    return own.stats;
  }

  /** Frees the lock of an own file. */
  release(id: string): void {
    const own = this.#own.get(id);
    if (own !== undefined && isOpen(own)) closeSync(own.descriptor);
    this.#own.delete(id);
  }

  /** Deletes a file that nothing names any more, of this object or of a dead owner. */
  delete(id: string): void {
    this.release(id);
    rmSync(this.path(id), { force: true });
  }

  /** Returns all that have a file, whether the state names them or not. */
  all(): readonly string[] {
    return readdirSync(this.#directory).filter((name) => z.uuid().safeParse(name).success);
  }

  /**
   * Returns those whose process has ended. One whose file was deleted counts as alive, because nobody can
   * prove its death.
   */
  async deadAmong(ids: Iterable<string>): Promise<readonly string[]> {
    const dead: string[] = [];
    for (const id of new Set(ids)) if (await this.#isDead(id)) dead.push(id);
    return dead;
  }

  [Symbol.dispose](): void {
    for (const id of this.own()) this.release(id);
  }

  async #isDead(id: string): Promise<boolean> {
    if (this.#own.has(id)) return !this.holds(id);
    const descriptor = openIfThere(this.path(id));
    if (descriptor === undefined) return false;
    try {
      if (isListedAsLocked(descriptor)) return false;
      // Shared, so that two processes that look at one time don't see each other's lock.
      return await flock(descriptor, 'shared', { wait: false });
    } finally {
      closeSync(descriptor);
    }
  }
}

/** False if other code has closed the descriptor, whose number may be another file's by now. */
function isOpen({ descriptor, stats }: OwnFile): boolean {
  try {
    const { dev, ino } = fstatSync(descriptor, { bigint: true });
    return dev === stats.dev && ino === stats.ino;
  } catch (error) {
    if (hasCode(error, 'EBADF')) return false;
    throw error;
  }
}

/** Opens a file to look at its lock; undefined if there is none. */
export function openIfThere(path: string): number | undefined {
  try {
    return openSync(path, 'r');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

const saidSchema = z.object({ owner: z.string().optional(), pid: z.number(), since: z.string() });

/** Describes the process that has locked a file, by what it has written into it. */
export function describeProcess(path: string): string {
  try {
    const { owner, pid, since } = saidSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
    return `process ${pid} (${owner === undefined ? '' : `${owner}, `}here since ${since})`;
  } catch {
    // The file was removed at this moment, or somebody has written into it.
    return `the process that has ${path} open`;
  }
}
