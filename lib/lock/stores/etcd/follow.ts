import createDebug from 'debug';
import type { EtcdClient, EtcdWatch } from '../../../etcd/client.ts';
import { growingPauses } from '../../../etcd/growing-pauses.ts';
import { prefixRange, readAll } from '../../../etcd/ranges.ts';
import { messageOf } from '../../../running/message-of.ts';
import type { StoreWatcher } from '../ticket-store.ts';
import type { KeyEvent } from './followed-keys.ts';
import { FollowedKeys } from './followed-keys.ts';
import type { EtcdHistory } from './history.ts';
import type { EtcdKeys } from './keys.ts';

const log = createDebug('berth:store');

/** The longest pause between two attempts to watch. */
const longestPauseMs = 2_000;

/** A watch that is further behind than this, and than the number of keys, reads the keys instead. */
const fewRevisions = 1_000;

/** How long etcd may take to report what a watch has missed, in calls. */
const catchUpCalls = 10;

export interface EtcdFollowOptions {
  readonly client: EtcdClient;
  readonly keys: EtcdKeys;
  readonly watcher: StoreWatcher;
  /**
   * Kept up to date: the keys with values that berth did not write. The watch skips them, so that one
   * such key does not stop every host.
   */
  readonly foreign: Set<string>;
  readonly history: EtcdHistory;
}

/**
 * Follows everything below the prefix by one long-lived watch: etcd serves a watch that starts in the past
 * only every 100 ms.
 *
 *     read everything, in pages ─► reset ─► watch ─► change, change, …
 *            ▲                                │ broken
 *            │                                ▼
 *            │                           interrupted
 *            │   another history,             │
 *            │   compacted, far behind,       │
 *            │   or a release of etcd         ▼
 *            └─ that does not tell ─── watch on from the last revision ─► change, … ─► resumed
 *
 * So a short outage costs etcd what has changed meanwhile, and not all keys for every host. The
 * whole state is read page by page, and no page twice, so that it ends however slow etcd is. Hosts that lost etcd at
 * one moment come back at random ones.
 *
 * Some releases of etcd lose the deletion at the revision that they have compacted. The watch goes on from
 * the last revision that it has reported, and not from the next one, so it never needs that event.
 */
export function followEtcd(options: EtcdFollowOptions): Disposable {
  const { history, watcher } = options;
  const follow = new EtcdFollow(options);
  const listening = history.onChange((change) => {
    follow.restart();
    watcher.historyChanged?.(change);
  });
  void follow.run();
  return {
    [Symbol.dispose]: () => {
      listening[Symbol.dispose]();
      follow.stop();
    },
  };
}

class EtcdFollow {
  readonly #options: EtcdFollowOptions;
  readonly #known: FollowedKeys;
  readonly #stopping = new AbortController();
  readonly #pauses = growingPauses(200, longestPauseMs);
  /** Aborts when the store has another history: what has been read is not of this one. */
  #round = new AbortController();

  constructor(options: EtcdFollowOptions) {
    this.#options = options;
    this.#known = new FollowedKeys(options.keys, options.foreign);
  }

  stop(): void {
    this.#stopping.abort();
  }

  /** Begins again with the whole state. */
  restart(): void {
    this.#known.forget();
    this.#pauses.reset(); // etcd answers.
    this.#round.abort();
  }

  async run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      this.#round = new AbortController();
      try {
        await this.#followOnce(AbortSignal.any([signal, this.#round.signal]));
      } catch (error) {
        log('the store is not followed: %s', messageOf(error));
      }
      if (signal.aborted) return;
      this.#options.watcher.interrupted();
      await this.#pauses.next(signal).catch(() => {
        // Stopped.
      });
    }
  }

  async #followOnce(signal: AbortSignal): Promise<void> {
    const { client, keys, history } = this.#options;
    await history.settled();
    const isResumed = this.#canGoOn();
    if (!isResumed) await this.#readAll(signal);
    signal.throwIfAborted();
    const { revision = 0 } = this.#known;
    const from = isResumed ? revision : revision + 1;
    const watch = await client.watch(prefixRange(keys.prefix), from, (events) => {
      if (!signal.aborted) this.#take(events, signal);
    });
    const close = () => watch.close();
    signal.addEventListener('abort', close);
    try {
      if (signal.aborted) close();
      else if (!isResumed) this.#pauses.reset();
      else if (!(await this.#resume(watch, signal))) close();
      const reason = await watch.ended;
      if (signal.aborted) return;
      log('the watch has ended (%s)', reason);
      if (watch.isCompacted) this.#known.forget();
    } finally {
      signal.removeEventListener('abort', close);
      close();
    }
  }

  /** True if etcd can report what has changed, and that is less work for it than to send everything. */
  #canGoOn(): boolean {
    const { tellsProgress, headers } = this.#options.client;
    const { revision, count } = this.#known;
    if (revision === undefined || !tellsProgress) return false;
    return headers.revision - revision <= Math.max(fewRevisions, count);
  }

  async #readAll(signal: AbortSignal): Promise<void> {
    const { client, keys, watcher, history } = this.#options;
    this.#known.forget();
    const { revision, kvs } = await readAll(client, keys.prefix, { until: signal });
    // With the pages at hand, the looks at the history are repeated, too.
    for (;;) {
      try {
        await history.settled();
        break;
      } catch {
        await this.#pauses.next(signal);
      }
    }
    signal.throwIfAborted();
    const state = this.#known.reset(revision, kvs);
    try {
      watcher.reset({ ...state, ...(history.name && { history: history.name }) });
    } catch (error) {
      this.#known.forget(); // The watcher does not have it.
      throw error;
    }
  }

  #take(events: readonly KeyEvent[], signal: AbortSignal): void {
    const { keys, watcher, history } = this.#options;
    try {
      const ofHistory = events.filter(({ kv }) => kv.key.equals(keys.historyKey));
      if (ofHistory.length > 0) void history.check();
      if (ofHistory.some(({ type }) => type !== 'Put')) {
        // Tickets that were deleted with it were not released: their locks are held until the look at the history.
        this.#known.forget();
        this.#round.abort();
        return;
      }
      for (const change of this.#known.changes(events)) {
        if (signal.aborted) return; // The watcher may end the watch.
        watcher.change(change);
        this.#known.reported(change);
      }
    } catch (error) {
      this.#known.forget(); // Else it would be reported in the same way again.
      throw error;
    }
  }

  /** Resolves with false if the watch did not catch up in time: then everything is read. */
  async #resume(watch: EtcdWatch, signal: AbortSignal): Promise<boolean> {
    const { client, watcher, history } = this.#options;
    let timer: NodeJS.Timeout | undefined;
    const tooLate = new Promise<'late'>((resolve) => {
      timer = setTimeout(resolve, catchUpCalls * client.callTimeoutMs, 'late');
      timer.unref();
    });
    // The look at the history was linearizable: nothing older than its revision may be missing.
    const answer = await Promise.race([watch.caughtUp(client.headers.revision), tooLate]);
    clearTimeout(timer);
    if (answer === 'late') this.#known.forget();
    if (answer !== true) return false;
    await history.settled();
    if (signal.aborted || this.#known.revision === undefined) return false;
    this.#pauses.reset();
    watcher.resumed();
    return true;
  }
}
