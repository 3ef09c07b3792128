import type { Clock } from '../../running/clock.ts';

/** A look that is older is repeated: what it has seen may have gone. */
const freshMs = 500;

/**
 * A look at what an operation needs of a driver beside its lock, such as the pool. It may begin before the
 * lock is asked for, so that both together take no longer than one of them.
 */
export class EarlyLook<T = void> {
  readonly #clock: Pick<Clock, 'now'>;
  readonly #look: (driver: string) => Promise<T>;
  #begun: { readonly driver: string; readonly at: number; readonly result: Promise<T> } | undefined;

  /** `look` rejects if the operation would fail. */
  constructor(clock: Pick<Clock, 'now'>, look: (driver: string) => Promise<T>) {
    this.#clock = clock;
    this.#look = look;
  }

  /** Begins to look; what that finds is heard by `done`. */
  begin(driver: string): Promise<T> {
    const at = this.#clock.now();
    const result = this.#look(driver);
    result.catch(() => {
      // The operation may end for another reason, and never ask.
    });
    this.#begun = { driver, at, result };
    return result;
  }

  /** Resolves or rejects as a look at this driver does that has begun within the last half second. */
  async done(driver: string): Promise<T> {
    const begun = this.#begun;
    const isFresh = begun?.driver === driver && this.#clock.now() - begun.at < freshMs;
    return await (isFresh ? begun.result : this.begin(driver));
  }
}
