import type { Clock } from './clock.ts';
import { LockCancelledError, LockTimeoutError, StoreUnavailableError } from './errors.ts';
import type { Ticket } from './ticket.ts';

/**
 * How long one request may wait: until its caller's signal aborts or its time is up. Disposing it
 * takes the timer and the listener away.
 */
export class WaitLimit implements Disposable {
  readonly #clock: Clock;
  readonly #startedAt: number;
  readonly #caller: AbortSignal | undefined;
  readonly #over = new AbortController();
  readonly #timeoutMs: number | undefined;
  /** Who was last seen in the way. */
  blockers: readonly Ticket[] = [];
  /** Why the store did not answer, when that is what is being waited for. */
  storeError: StoreUnavailableError | undefined;

  constructor(clock: Clock, signal: AbortSignal | undefined, timeoutMs: number | undefined) {
    this.#clock = clock;
    this.#startedAt = clock.now();
    this.#caller = signal;
    this.#timeoutMs = timeoutMs;
    if (signal?.aborted) this.#end();
    else signal?.addEventListener('abort', this.#end);
    if (timeoutMs !== undefined) void clock.sleep(timeoutMs, this.signal).then(this.#end);
  }

  /** Aborts when the wait is over, for whatever reason. */
  get signal(): AbortSignal {
    return this.#over.signal;
  }

  get isOver(): boolean {
    return this.signal.aborted;
  }

  /** What to tell the caller when the wait is over. */
  error(lockNames: readonly string[]): Error {
    if (this.#caller?.aborted) {
      return new LockCancelledError(`the request for ${lockNames.join(' + ')} was cancelled`, {
        cause: this.#caller.reason,
      });
    }
    if (this.storeError) return this.storeError;
    return new LockTimeoutError(lockNames, this.blockers, this.#clock.now() - this.#startedAt);
  }

  /**
   * Repeats `call`, which must be safe to repeat, while the store does not answer and the limit
   * allows; always at least once.
   */
  async untilAnswered<T>(call: () => Promise<T>): Promise<T> {
    for (let pauseMs = 20; ; pauseMs = Math.min(pauseMs * 2, 500)) {
      try {
        const answer = await call();
        this.storeError = undefined;
        return answer;
      } catch (error) {
        if (!(error instanceof StoreUnavailableError)) throw error;
        this.storeError = error;
      }
      if (this.isOver || this.#timeoutMs === 0) throw this.storeError;
      await this.#clock.sleep(pauseMs, this.signal);
      if (this.isOver) throw this.storeError;
    }
  }

  [Symbol.dispose](): void {
    this.#end();
  }

  #end = () => {
    this.#caller?.removeEventListener('abort', this.#end);
    this.#over.abort();
  };
}
