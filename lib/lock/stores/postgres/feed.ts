import { setTimeout as pause } from 'node:timers/promises';
import createDebug from 'debug';
import type { HistoryChange } from '../../history.ts';
import type { StoreHistory } from '../store-history.ts';
import type { StoreWatcher } from '../ticket-store.ts';
import type { Line } from './connections.ts';
import type { Database } from './database.ts';
import { readNews, readState } from './view.ts';

const log = createDebug('berth:postgres');

/** The pause before a broken connection is opened again. */
const retryMs = 200;

interface Follower {
  readonly watcher: StoreWatcher;
  /** The last revision that the watcher has seen; undefined if it needs a `reset`. */
  seen: number | undefined;
  isEnded: boolean;
}

/**
 * Reports committed changes, of this client and of others, to watchers, over one connection that is
 * open while there are watchers. The feed reads at a notification, after this client's own changes,
 * when a session may have expired, and, as a safety net, at intervals.
 */
export class ChangeFeed implements Disposable {
  readonly #database: Database;
  readonly #history: Pick<StoreHistory<never>, 'ask' | 'onChange'>;
  readonly #listening: Disposable;
  readonly #followers = new Set<Follower>();
  #running: AbortController | undefined;
  #alarm = Promise.withResolvers<void>();
  /** True while the connection for notifications is open. */
  #isListening = false;
  readonly #onNotified = new Set<(payload: string) => void>();

  constructor(database: Database, history: Pick<StoreHistory<never>, 'ask' | 'onChange'>) {
    this.#database = database;
    this.#history = history;
    database.onChange = () => this.#wake();
    this.#listening = history.onChange((change) => this.#historyChanged(change));
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

  /**
   * Calls `listener` for each notification on the connection that the feed has open; undefined if it has none.
   */
  hear(listener: (payload: string) => void): Disposable | undefined {
    if (!this.#isListening) return undefined;
    this.#onNotified.add(listener);
    return { [Symbol.dispose]: () => this.#onNotified.delete(listener) };
  }

  [Symbol.dispose](): void {
    this.#listening[Symbol.dispose]();
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
        // The store is away: reported and retried below.
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
      if (payload !== undefined) for (const listener of this.#onNotified) listener(payload);
    });
    this.#isListening = true;
    try {
      while (!signal.aborted) {
        this.#alarm = Promise.withResolvers();
        const untilExpiryMs = await this.#pump(line, signal);
        await this.#sleep(Math.min(untilExpiryMs, this.#database.dialect.pollMs));
      }
    } finally {
      this.#isListening = false;
    }
  }

  /** Reports new changes to all watchers. Returns the time until the next session may expire. */
  async #pump(line: Line, signal: AbortSignal): Promise<number> {
    if ([...this.#followers].some(({ seen }) => seen === undefined)) await this.#reset(line);
    if (signal.aborted) return 0;
    const seen = Math.min(...[...this.#followers].map((follower) => follower.seen ?? Infinity));
    if (seen === Infinity) return 0; // A watcher has just joined.
    const { changes, untilExpiryMs } = await this.#history.ask(() =>
      this.#database.view(() => readNews(this.#database, line, seen)),
    );
    // Another history was noticed meanwhile: these changes are of the one before.
    if ([...this.#followers].some((follower) => follower.seen === undefined)) return 0;
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
    const state = await this.#history.ask(() =>
      this.#database.view(() => readState(this.#database, line)),
    );
    for (const follower of this.#followers) {
      if (follower.seen !== undefined) continue;
      follower.seen = state.revision;
      deliver(follower, () => follower.watcher.reset(state));
    }
  }

  /** Removes expired sessions; a failure stops neither other clients nor the report of changes. */
  async #dropExpired(): Promise<number> {
    try {
      await this.#history.ask(() => this.#database.dropExpired());
      return 0;
    } catch (error) {
      log('expired sessions were not removed: %s', error);
      return retryMs;
    }
  }

  /** Tells the watchers within the call that notices it, so that no lock of the history before is held any more. */
  #historyChanged(change: HistoryChange): void {
    for (const follower of [...this.#followers]) {
      follower.seen = undefined;
      follower.watcher.historyChanged?.(change);
    }
    this.#wake();
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

  /** Waits for a wake-up. The connection, not this timer, keeps the process alive. */
  async #sleep(ms: number): Promise<void> {
    const timer = setTimeout(() => this.#wake(), ms);
    await this.#alarm.promise;
    clearTimeout(timer);
  }
}

/** Delivers each event in a task of its own, so that an error of a watcher can't stop the feed. */
function deliver(follower: Follower, event: () => void): void {
  queueMicrotask(() => {
    if (!follower.isEnded) event();
  });
}
