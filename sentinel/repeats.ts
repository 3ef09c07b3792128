import type { MachineClock } from './ports.ts';

const shortestPauseMs = 200;
const longestPauseMs = 10_000;

interface Asked {
  /** The pause after the answer, or after the time to wait for it. */
  pauseMs: number;
  /** Infinite while the answer is awaited. */
  nextAtMs: number;
}

/**
 * Says when an engine may be asked again for what has not come about: only when the request before
 * was answered or given up, and later each time. An engine works off requests that nobody waits for
 * any more, so requests that come faster than it answers would keep it from all others.
 */
export class Repeats {
  readonly #clock: Pick<MachineClock, 'now'>;
  readonly #asked = new Map<string, Asked>();

  constructor(clock: Pick<MachineClock, 'now'>) {
    this.#clock = clock;
  }

  isDue(key: string): boolean {
    return this.#clock.now() >= (this.#asked.get(key)?.nextAtMs ?? 0);
  }

  /** Notes that the answer to this request is awaited, and settles as it does. */
  async noted<T>(key: string, request: Promise<T>): Promise<T> {
    const pauseMs = this.#asked.get(key)?.pauseMs ?? shortestPauseMs;
    const asked = { pauseMs, nextAtMs: Number.POSITIVE_INFINITY };
    this.#asked.set(key, asked);
    try {
      return await request;
    } finally {
      asked.nextAtMs = this.#clock.now() + pauseMs;
      asked.pauseMs = Math.min(2 * pauseMs, longestPauseMs);
    }
  }

  /** The next request is the first of its kind: it may be made at once. */
  startAgain(key: string): void {
    this.#asked.delete(key);
  }
}
