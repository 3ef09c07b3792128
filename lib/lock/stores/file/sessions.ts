import { LockUnsupportedError, StoreRefusedError } from '../../errors.ts';
import type { OpenSession, SessionRequest } from '../ticket-store.ts';
import type { LockedFiles } from './locked-files.ts';
import type { StateFile } from './state-file.ts';
import type { Steps } from './steps.ts';

/** Sessions that end when they are closed or their process ends. No other process resumes them. */
export class Sessions {
  readonly #steps: Steps;
  readonly #file: StateFile;
  readonly #files: LockedFiles;
  #isPurging = false;

  constructor(steps: Steps, file: StateFile, files: LockedFiles) {
    this.#steps = steps;
    this.#file = file;
    this.#files = files;
  }

  async open({ owner, resumable, resume }: SessionRequest): Promise<OpenSession> {
    if (resumable || resume !== undefined) {
      throw new LockUnsupportedError(
        "locks in a directory end with their process and can't be resumed by another; " +
          'use the embedded store or etcd for locks that must outlive it',
      );
    }
    for (;;) {
      const id = await this.#files.create({ owner });
      try {
        const isOpen = await this.#steps.take((model) => {
          if (this.#files.has(id)) model.addSession(id);
          return model.hasSession(id);
        });
        if (isOpen) return { id, ttlMs: Number.POSITIVE_INFINITY, resumed: false };
      } catch (error) {
        // A refusal has written nothing. After another error the state may name the session: without its
        // file's lock it is dead and will be dropped.
        if (error instanceof StoreRefusedError) this.#files.delete(id);
        else this.#files.release(id);
        throw error;
      }
      // Another process took the file for a left-over before it was locked, and deleted it.
      this.#files.release(id);
    }
  }

  async close(id: string): Promise<void> {
    await this.#drop([id]);
  }

  isOpen(id: string): boolean {
    return this.#file.current().sessions.includes(id);
  }

  async isAlive(id: string): Promise<boolean> {
    return this.isOpen(id) && (await this.#files.deadAmong([id])).length === 0;
  }

  /** Drops the dead sessions among `ids`; true if there were any. */
  async dropDead(ids: Iterable<string>): Promise<boolean> {
    const dead = await this.#files.deadAmong(ids);
    if (dead.length > 0) await this.#drop(dead);
    return dead.length > 0;
  }

  /** Drops all dead sessions. */
  async purge(): Promise<void> {
    await this.dropDead(this.#file.current().sessions);
  }

  /** Drops all dead sessions in the background, for the feed; false while a purge still runs. */
  purgeSoon(): boolean {
    if (this.#isPurging) return false;
    this.#isPurging = true;
    // The next step of a caller reports the fault.
    void this.purge()
      .catch(() => {})
      .finally(() => {
        this.#isPurging = false;
      });
    return true;
  }

  /** Deletes the files of processes that died while they opened or closed a session. */
  async sweep(): Promise<void> {
    const named = new Set(this.#file.current().sessions);
    const left = await this.#files.deadAmong(this.#files.all().filter((id) => !named.has(id)));
    if (left.length === 0) return;
    await this.#steps.take((model) => {
      for (const id of left) if (!model.hasSession(id)) this.#files.delete(id);
    });
  }

  /** Returns the sessions whose file was deleted, so that nobody can prove their death. */
  lost(): readonly string[] {
    return this.#file.current().sessions.filter((id) => !this.#files.has(id));
  }

  /** Ends this process's sessions. If that can't be written, their locks still end. */
  async closeOwn(): Promise<void> {
    await this.#drop(this.#files.own()).catch(() => {});
  }

  async #drop(ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return;
    const dropped = await this.#steps.take((model) => ids.filter((id) => model.dropSession(id)));
    for (const id of dropped) this.#files.delete(id);
    for (const id of ids) this.#files.release(id);
  }
}
