import type { StoreChange, StoreState, StoreWatcher } from './ticket-store.ts';

/** Interval at which the feed looks for writes of other processes. */
const pollMs = 25;
/** The feed looks for dead processes each time after this many polls: a death changes no file. */
const pollsPerPurge = 16;

/** A file that several processes share. Its methods throw while the file can't be read. */
export interface ChangeSource {
  /** Called after each committed change of this process; it must not throw. */
  onChange: () => void;
  /** Returns a number that changes when another process commits. */
  dataVersion(): number;
  state(): StoreState;
  /** Returns all changes after `revision`; undefined if some of them are no longer kept. */
  changesAfter(revision: number): readonly StoreChange[] | undefined;
}

interface Follower {
  readonly watcher: StoreWatcher;
  /** The last revision that the watcher has seen; undefined if it needs a `reset`. */
  seen: number | undefined;
  isEnded: boolean;
}

/**
 * Reports committed changes to watchers: those of this process at once, those of other processes by
 * a poll. The poll runs only while there are watchers and does not keep the process alive. Without `purge`
 * there is none: such a source calls `onChange` also for the changes of others, and when it can't be read.
 */
export class ChangeFeed {
  readonly #source: ChangeSource;
  readonly #purge: (() => boolean) | undefined;
  readonly #followers = new Set<Follower>();
  #timer: NodeJS.Timeout | undefined;
  #dataVersion = -1;
  #polls = 0;
  #isPumpDue = false;

  /** `purge` removes the sessions of dead processes; false if it has to be repeated. */
  constructor(source: ChangeSource, purge?: () => boolean) {
    this.#source = source;
    this.#purge = purge;
    source.onChange = () => this.#pumpSoon();
  }

  follow(watcher: StoreWatcher): Disposable {
    const follower: Follower = { watcher, seen: undefined, isEnded: false };
    this.#followers.add(follower);
    const purge = this.#purge;
    if (purge) this.#timer ??= setInterval(() => this.#poll(purge), pollMs).unref();
    this.#pumpSoon();
    return { [Symbol.dispose]: () => this.#end(follower) };
  }

  /** Reports the whole state to all watchers: the source has another one than it had. */
  restart(): void {
    this.#interrupt();
    this.#pumpSoon();
  }

  [Symbol.dispose](): void {
    for (const follower of this.#followers) this.#end(follower);
  }

  #end(follower: Follower): void {
    follower.isEnded = true;
    this.#followers.delete(follower);
    if (this.#followers.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #pumpSoon(): void {
    if (this.#isPumpDue || this.#followers.size === 0) return;
    this.#isPumpDue = true;
    queueMicrotask(() => {
      this.#isPumpDue = false;
      this.#guarded(() => this.#pump());
    });
  }

  #poll(purge: () => boolean): void {
    this.#guarded(() => {
      this.#polls += 1;
      if (this.#polls >= pollsPerPurge && purge()) this.#polls = 0;
      const version = this.#source.dataVersion();
      const isBehind = [...this.#followers].some(({ seen }) => seen === undefined);
      if (version === this.#dataVersion && !isBehind) return;
      this.#pump();
      this.#dataVersion = version;
    });
  }

  #pump(): void {
    for (const follower of this.#followers) {
      const changes =
        follower.seen === undefined ? undefined : this.#source.changesAfter(follower.seen);
      if (changes === undefined) this.#reset(follower);
      else for (const change of changes) this.#tell(follower, change);
    }
  }

  #reset(follower: Follower): void {
    const state = this.#source.state();
    if (follower.seen !== undefined) deliver(follower, () => follower.watcher.interrupted());
    follower.seen = state.revision;
    deliver(follower, () => follower.watcher.reset(state));
  }

  #tell(follower: Follower, change: StoreChange): void {
    follower.seen = change.revision;
    deliver(follower, () => follower.watcher.change(change));
  }

  /** Runs a step. After an error, watchers get `interrupted`, and the next poll tries again. */
  #guarded(step: () => void): void {
    try {
      step();
    } catch {
      this.#interrupt();
    }
  }

  #interrupt(): void {
    for (const follower of this.#followers) {
      if (follower.seen === undefined) continue;
      follower.seen = undefined;
      deliver(follower, () => follower.watcher.interrupted());
    }
  }
}

/** Delivers each event in a task of its own, so that an error of a watcher can't stop the feed. */
function deliver(follower: Follower, event: () => void): void {
  queueMicrotask(() => {
    if (!follower.isEnded) event();
  });
}
