import { randomUUID } from 'node:crypto';
import { closeSync, existsSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { hasCode } from '../../../linux/error-code.ts';
import { StoreUnavailableError } from '../../errors.ts';
import { flock, holdsLock, isListedAsLocked } from './flock.ts';

/**
 * One file per session, which its process has locked as long as the session lives. The kernel ends
 * that lock with the process, however it ends; so whoever gets the lock knows that the session is
 * dead, and no session is ever taken for dead that is not.
 *
 * No id is used twice, so a file may be deleted once the state does not name its session any more.
 */
export class SessionFiles implements Disposable {
  readonly #directory: string;
  /** The descriptors of this process's sessions. */
  readonly #own = new Map<string, number>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Makes and locks the file of a new session; answers its id. */
  async create(owner: string): Promise<string> {
    const id = randomUUID();
    const descriptor = openSync(this.#path(id), 'wx', 0o600);
    try {
      const holder = { owner, pid: process.pid, since: new Date().toISOString() };
      writeSync(descriptor, `${JSON.stringify(holder)}\n`);
      if (!(await flock(descriptor, 'exclusive', { wait: true }))) {
        throw new StoreUnavailableError(`somebody else has locked ${this.#path(id)}`);
      }
    } catch (error) {
      closeSync(descriptor);
      throw error;
    }
    this.#own.set(id, descriptor);
    return id;
  }

  /** Those that this process has opened and not released. */
  own(): readonly string[] {
    return [...this.#own.keys()];
  }

  has(id: string): boolean {
    return existsSync(this.#path(id));
  }

  /** Gives the lock of an own session back to the kernel. */
  release(id: string): void {
    const descriptor = this.#own.get(id);
    if (descriptor !== undefined) closeSync(descriptor);
    this.#own.delete(id);
  }

  /** Only for a session that the state does not name. */
  delete(id: string): void {
    this.release(id);
    rmSync(this.#path(id), { force: true });
  }

  /** The sessions that have a file, whether the state names them or not. */
  all(): readonly string[] {
    return readdirSync(this.#directory).filter((name) => z.uuid().safeParse(name).success);
  }

  /**
   * Those whose process has ended. One whose file somebody has deleted counts as alive: nobody
   * can tell, and nobody may take its locks.
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
      // Shared, so that those who look at the same time don't take each other for the session.
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
