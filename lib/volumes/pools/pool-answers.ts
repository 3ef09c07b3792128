import type { Clock } from '../../running/clock.ts';

/**
 * How many Creates and Removes may be in one pool at a time that have not looked at it before. When the pool hangs,
 * each of them keeps its locks and two of the 32 threads of a storage worker, one of them for its look at the pool, so
 * other pools keep most of them.
 */
const mostAtOnce = 4;
/** A pool that has not answered for this long is looked at first. */
const slowMs = 1_000;

/** Knows from what one pool has answered whether work may begin in it without a look before. */
export class PoolAnswers {
  readonly #clock: Pick<Clock, 'now'>;
  /** When each look and each work began that has not ended. */
  readonly #begun = new Set<{ readonly at: number }>();
  #works = 0;
  #hasAnswered = false;

  constructor(clock: Pick<Clock, 'now'>) {
    this.#clock = clock;
  }

  /** The last look was answered, nothing has been under way for a second, and there is room for one more. */
  get allowsWork(): boolean {
    if (!this.#hasAnswered || this.#works >= mostAtOnce) return false;
    const now = this.#clock.now();
    return [...this.#begun].every(({ at }) => now - at < slowMs);
  }

  /** Runs a look at the pool. */
  async look<T>(look: () => Promise<T>): Promise<T> {
    try {
      const seen = await this.#during(look);
      this.#hasAnswered = true;
      return seen;
    } catch (error) {
      this.#hasAnswered = false;
      throw error;
    }
  }

  /** Runs work that looks at the pool itself; ask `allowsWork` in the same step. */
  async work<T>(work: () => Promise<T>): Promise<T> {
    this.#works += 1;
    try {
      return await this.#during(work);
    } finally {
      this.#works -= 1;
    }
  }

  async #during<T>(run: () => Promise<T>): Promise<T> {
    const begun = { at: this.#clock.now() };
    this.#begun.add(begun);
    try {
      return await run();
    } finally {
      this.#begun.delete(begun);
    }
  }
}
