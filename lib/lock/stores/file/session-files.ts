import { randomUUID } from 'node:crypto';
import { closeSync, existsSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { hasCode } from '../../../linux/error-code.ts';
import { StoreUnavailableError } from '../../errors.ts';
import { flock, holdsLock, isListedAsLocked } from './flock.ts';

/**
 * One file per session, locked by the session's process. The kernel frees the lock when the process
 * ends, in whatever way. So a process that gets the lock knows that the session is dead, and a live
 * session never counts as dead.
 *
 * Ids are never reused, so a file may be deleted once the state no longer names its session.
 */
export class SessionFiles implements Disposable {
  readonly #directory: string;
  /** The descriptors of this process's sessions. */
  readonly #own = new Map<string, number>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Creates and locks the file of a new session; returns the session's id. */
  async create(owner: string): Promise<string> {
    const id = randomUUID();
    const descriptor = openSync(this.#path(id), 'wx', 0o600);
    try {
      const holder = { owner, pid: process.pid, since: new Date().toISOString() };
      writeSync(descriptor, `${JSON.stringify(holder)}\n`);
      if (!(await flock(descriptor, 'exclusive', { wait: true }))) {
        throw new StoreUnavailableError(`another process has locked ${this.#path(id)}`);
      }
    } catch (error) {
      closeSync(descriptor);
      throw error;
    }
    this.#own.set(id, descriptor);
    return id;
  }

  /** Returns the sessions that this process has opened and not released. */
  own(): readonly string[] {
    return [...this.#own.keys()];
  }

  has(id: string): boolean {
    return existsSync(this.#path(id));
  }

  /** Frees the lock of an own session. */
  release(id: string): void {
    const descriptor = this.#own.get(id);
    if (descriptor !== undefined) closeSync(descriptor);
    this.#own.delete(id);
  }

  /** Deletes the file of a session that the state does not name. */
  delete(id: string): void {
    this.release(id);
    rmSync(this.#path(id), { force: true });
  }

  /** Returns the sessions that have a file, whether the state names them or not. */
  all(): readonly string[] {
    return readdirSync(this.#directory).filter((name) => z.uuid().safeParse(name).success);
  }

  /**
   * Returns the sessions whose process has ended. A session whose file was deleted counts as alive,
   * because nobody can prove its death.
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
    const own = this.#own.get(id);
    if (own !== undefined) return !holdsLock(own);
    const descriptor = this.#open(id);
    if (descriptor === undefined) return false;
    try {
      if (isListedAsLocked(descriptor)) return false;
      // Shared, so that two processes that look at one time don't see each other's lock.
      return await flock(descriptor, 'shared', { wait: false });
    } finally {
      closeSync(descriptor);
    }
  }

  #open(id: string): number | undefined {
    try {
      return openSync(this.#path(id), 'r');
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  #path(id: string): string {
    return join(this.#directory, id);
  }
}
