import { setTimeout as pause } from 'node:timers/promises';
import createDebug from 'debug';
import type { StoreWatcher } from '../ticket-store.ts';
import type { Line } from './connections.ts';
import type { Database } from './database.ts';
import { readNews, readState } from './view.ts';

const log = createDebug('berth:postgres');

/** How soon a connection that broke is made anew. */
const retryMs = 200;

interface Follower {
  readonly watcher: StoreWatcher;
  /** The revision it has been told up to; undefined when it needs a `reset`. */
  seen: number | undefined;
  isEnded: boolean;
}

/**
 * Tells watchers what is committed, by this client and by others, over one connection that is open
 * while there are watchers. It wakes at a notification, after this client's own changes, when a
 * session may be over, and, as a net, now and then.
 */
export class ChangeFeed implements Disposable {
  readonly #database: Database;
  readonly #followers = new Set<Follower>();
  #running: AbortController | undefined;
  #alarm = Promise.withResolvers<void>();

  constructor(database: Database) {
    this.#database = database;
    database.onChange = () => this.#wake();
  }

  follow(watcher: StoreWatcher): Disposable {
    const follower: Follower = { watcher, seen: undefined, isEnded: false };
    this.#followers.add(follower);
    if (this.#running === undefined) {
      this.#running = new AbortController();
      void this.#run(this.#running.signal);
    }
    this.#wake();
    return { [Symbol.dispose]: () => this.#end(follower) };
  }

  [Symbol.dispose](): void {
    for (const follower of this.#followers) this.#end(follower);
  }

  #end(follower: Follower): void {
    follower.isEnded = true;
    this.#followers.delete(follower);
    if (this.#followers.size > 0) return;
    this.#running?.abort();
    this.#running = undefined;
    this.#wake();
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#followOnce(signal);
      } catch (error) {
        // The store is away: said below, tried again.
        log('watch broke: %s', error);
      }
      if (signal.aborted) return;
      this.#interrupt();
      await pause(retryMs, undefined, { ref: false });
    }
  }

  async #followOnce(signal: AbortSignal): Promise<void> {
    await using line = await this.#database.open((payload) => {
      if (payload === undefined || !this.#hasSeen(Number(payload))) this.#wake();
    });
    while (!signal.aborted) {
      this.#alarm = Promise.withResolvers();
      const untilExpiryMs = await this.#pump(line, signal);
      await this.#sleep(Math.min(untilExpiryMs, this.#database.dialect.pollMs));
    }
  }

  /** Tells everybody what is new. Answers the time until there may be something to do. */
  async #pump(line: Line, signal: AbortSignal): Promise<number> {
    if ([...this.#followers].some(({ seen }) => seen === undefined)) await this.#reset(line);
    if (signal.aborted) return 0;
    const seen = Math.min(...[...this.#followers].map((follower) => follower.seen ?? Infinity));
    if (seen === Infinity) return 0; // Somebody has come to follow just now.
    const { changes, untilExpiryMs } = await this.#database.view(() =>
      readNews(this.#database, line, seen),
    );
    if (changes === undefined) {
      this.#interrupt();
      return 0;
    }
    for (const follower of this.#followers) {
      for (const change of changes) {
        if (follower.seen === undefined || change.revision <= follower.seen) continue;
        follower.seen = change.revision;
        deliver(follower, () => follower.watcher.change(change));
      }
    }
    if (untilExpiryMs > 0) return untilExpiryMs;
    return this.#dropExpired();
  }

  async #reset(line: Line): Promise<void> {
    const state = await this.#database.view(() => readState(this.#database, line));
    for (const follower of this.#followers) {
      if (follower.seen !== undefined) continue;
      follower.seen = state.revision;
      deliver(follower, () => follower.watcher.reset(state));
    }
  }

  /** What keeps it from being done here need not keep others, nor watchers from what is new. */
  async #dropExpired(): Promise<number> {
    try {
      await this.#database.dropExpired();
      return 0;
    } catch (error) {
      log('expired sessions can not be dropped: %s', error);
      return retryMs;
    }
  }

  #interrupt(): void {
    for (const follower of this.#followers) {
      if (follower.seen === undefined) continue;
      follower.seen = undefined;
      deliver(follower, () => follower.watcher.interrupted());
    }
  }

  #hasSeen(revision: number): boolean {
    return [...this.#followers].every(({ seen }) => seen !== undefined && seen >= revision);
  }

  #wake(): void {
    this.#alarm.resolve();
  }

  /** Until woken. Does not keep the process alive: the connection does. */
  async #sleep(ms: number): Promise<void> {
    const timer = setTimeout(() => this.#wake(), ms);
    await this.#alarm.promise;
    clearTimeout(timer);
  }
}

/** Each event in a task of its own, so that what a watcher throws can't disturb the feed. */
function deliver(follower: Follower, event: () => void): void {
  queueMicrotask(() => {
    if (!follower.isEnded) event();
  });
}
