import createDebug from 'debug';
import type { MachineClock } from './ports.ts';

const log = createDebug('berth:sentinel');

/** A task that the next step plans again is not repeated earlier than this after its end. */
const shortestPauseMs = 200;
const longestPauseMs = 2_000;

/** Work that may take long, and that nothing waits for: one task per key, a few of a kind at once. */
export class Tasks {
  readonly #running = new Set<string>();
  readonly #endedAtMs = new Map<string, number>();
  readonly #clock: Pick<MachineClock, 'now'>;
  readonly #waiting = new Map<string, () => Promise<void>>();
  readonly #limit: number;
  readonly #changed: () => void;

  /** `changed` is called when a task has ended. */
  constructor(limit: number, clock: Pick<MachineClock, 'now'>, changed: () => void) {
    this.#limit = limit;
    this.#clock = clock;
    this.#changed = changed;
  }

  /**
   * Starts the work unless a task of this key runs, or has just ended; work of this key that still
   * waits is dropped. A failure is only logged: the next step plans the work again.
   */
  start(key: string, work: () => Promise<void>, pauseMs = shortestPauseMs): void {
    if (this.#running.has(key)) return;
    const now = this.#clock.now();
    if (now - (this.#endedAtMs.get(key) ?? Number.NEGATIVE_INFINITY) < pauseMs) return;
    for (const [each, endedAtMs] of this.#endedAtMs) {
      if (now - endedAtMs >= longestPauseMs) this.#endedAtMs.delete(each);
    }
    this.#waiting.delete(key);
    this.#waiting.set(key, work);
    this.#next();
  }

  #next(): void {
    while (this.#running.size < this.#limit) {
      const [next] = this.#waiting;
      if (!next) return;
      const [key, work] = next;
      this.#waiting.delete(key);
      this.#running.add(key);
      work()
        .catch((error) => log('ERROR %s: %O', key, error))
        .finally(() => {
          this.#running.delete(key);
          this.#endedAtMs.set(key, this.#clock.now());
          this.#next();
          this.#changed();
        });
    }
  }
}
