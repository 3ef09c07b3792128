import type { StoreHistory } from '../../../lib/lock/stores/store-history.ts';
import type { StoreState, StoreWatcher } from '../../../lib/lock/stores/ticket-store.ts';
import type { Clock } from '../../../lib/running/clock.ts';
import type { Link } from './link.ts';

export interface WatchOfHistoryOptions {
  readonly link: Link;
  readonly clock: Clock;
  readonly history: Pick<StoreHistory<never>, 'name' | 'settled' | 'onChange'>;
  readonly watcher: StoreWatcher;
  readonly follow: (remote: StoreWatcher) => Disposable;
  /** Called when the watch has a new connection, which may lead to another server. */
  readonly onConnected: () => void;
}

/** How long to wait until a look at the history is tried again. */
const retryMs = 100;

/**
 * Follows the store, and reports nothing of another history: the state that a new connection brings is
 * reported after a look at the history, and when that is another one, the watch begins again.
 */
export class WatchOfHistory implements Disposable {
  readonly #options: WatchOfHistoryOptions;
  readonly #listening: Disposable;
  readonly #ended = new AbortController();
  #remote: Disposable | undefined;
  /** The changes that wait for the look at the history; undefined: each is reported at once. */
  #waiting: (() => void)[] | undefined;

  constructor(options: WatchOfHistoryOptions) {
    this.#options = options;
    this.#listening = options.history.onChange((change) => {
      this.#start();
      options.watcher.historyChanged?.(change);
    });
    this.#start();
  }

  [Symbol.dispose](): void {
    this.#ended.abort();
    this.#listening[Symbol.dispose]();
    this.#remote?.[Symbol.dispose]();
  }

  #start(): void {
    const { link, follow, watcher } = this.#options;
    this.#remote?.[Symbol.dispose]();
    this.#waiting = undefined;
    const stream = new DisposableStack();
    this.#remote = stream;
    const ifOurs = (event: () => void) => {
      if (this.#remote === stream && !this.#ended.signal.aborted) event();
    };
    const inOrder = (event: () => void) =>
      ifOurs(() => (this.#waiting ? void this.#waiting.push(event) : event()));
    stream.use(
      link.watch(follow, {
        reset: (state) => ifOurs(() => void this.#reset(state)),
        change: (change) => inOrder(() => watcher.change(change)),
        interrupted: () =>
          ifOurs(() => {
            this.#waiting = undefined;
            watcher.interrupted();
          }),
        resumed: () => inOrder(() => watcher.resumed()),
      }),
    );
  }

  async #reset(state: StoreState): Promise<void> {
    const { history, clock, watcher, onConnected } = this.#options;
    const { signal } = this.#ended;
    const waiting: (() => void)[] = [];
    this.#waiting = waiting;
    onConnected();
    const isOver = () => signal.aborted || this.#waiting !== waiting;
    for (;;) {
      const isSettled = await history.settled().then(
        () => true,
        () => false,
      );
      if (isOver()) return;
      if (isSettled) break;
      await clock.sleep(retryMs, signal);
      if (isOver()) return;
    }
    this.#waiting = undefined;
    watcher.reset({ ...state, ...(history.name && { history: history.name }) });
    for (const event of waiting) event();
  }
}
