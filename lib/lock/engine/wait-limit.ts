import type { Clock } from '../../running/clock.ts';
import {
  LockCancelledError,
  LockTimeoutError,
  StoreRefusedError,
  StoreUnavailableError,
} from '../errors.ts';
import type { Ticket } from '../ticket.ts';

/** A reason of its own for each abort would be an error with a stack, made for nobody. */
const over = 'the wait is over';

/** `setTimeout` fires at once for longer waits than this. */
const longestMs = 2 ** 31 - 1;

/** Throws RangeError unless `ms` is a whole number of milliseconds from `least` on. */
export function checkDuration(what: string, ms: number, least: number): void {
  if (Number.isInteger(ms) && ms >= least && ms <= longestMs) return;
  throw new RangeError(`${what} is a whole number of ms from ${least} to ${longestMs}, not ${ms}`);
}

/** Throws RangeError for what is no TTL of a lock. */
export function checkTtl(ttlMs: number): void {
  if (ttlMs !== Number.POSITIVE_INFINITY) checkDuration('the TTL of a lock', ttlMs, 1_000);
}

/**
 * How long one request may wait: until one of its callers' signals aborts or its time is up.
 * Disposing it takes the timer and the listeners away.
 */
export class WaitLimit implements Disposable {
  readonly #clock: Clock;
  readonly #startedAt: number;
  readonly #callers: readonly AbortSignal[];
  readonly #timeoutMs: number;
  /** Made when somebody waits for it: most requests never do. */
  #over: AbortController | undefined;

  constructor(clock: Clock, callers: readonly AbortSignal[], timeoutMs: number | undefined) {
    if (timeoutMs !== undefined) checkDuration('a time-out', timeoutMs, 0);
    this.#clock = clock;
    this.#startedAt = clock.now();
    this.#callers = callers;
    this.#timeoutMs = timeoutMs ?? Number.POSITIVE_INFINITY;
  }

  /** Aborts when the wait is over, for whatever reason. */
  get signal(): AbortSignal {
    this.#over ??= this.#watch();
    return this.#over.signal;
  }

  get isOver(): boolean {
    return this.#over?.signal.aborted || this.isCancelled || this.#leftMs() <= 0;
  }

  /** A caller does not want it any more. */
  get isCancelled(): boolean {
    return this.#callers.some(({ aborted }) => aborted);
  }

  /** What to tell the caller when the wait is over; `blockers` are in the way. */
  error(lockNames: readonly string[], blockers: readonly Ticket[]): Error {
    const cause = this.#callers.find(({ aborted }) => aborted)?.reason;
    if (this.isCancelled) {
      return new LockCancelledError(`the request for ${lockNames.join(' + ')} was cancelled`, {
        cause,
      });
    }
    return new LockTimeoutError(lockNames, blockers, this.#clock.now() - this.#startedAt);
  }

  /**
   * Repeats `call`, which must be safe to repeat, while the store does not answer and the limit
   * allows; always at least once. Rejects with the store's last error, and at once when it refuses.
   */
  async untilAnswered<T>(call: () => Promise<T>): Promise<T> {
    for (let pauseMs = 20; ; pauseMs = Math.min(pauseMs * 2, 500)) {
      try {
        return await call();
      } catch (error) {
        const isPassing =
          error instanceof StoreUnavailableError && !(error instanceof StoreRefusedError);
        if (!isPassing || this.isOver) throw error;
        await this.#clock.sleep(pauseMs, this.signal);
        if (this.isOver) throw error;
      }
    }
  }

  [Symbol.dispose](): void {
    this.#end();
  }

  #leftMs(): number {
    return this.#startedAt + this.#timeoutMs - this.#clock.now();
  }

  #watch(): AbortController {
    const controller = new AbortController();
    this.#over = controller;
    if (this.isOver) controller.abort(over);
    for (const caller of this.#callers) caller.addEventListener('abort', this.#end);
    if (this.#timeoutMs !== Number.POSITIVE_INFINITY) {
      void this.#clock.sleep(Math.max(this.#leftMs(), 0), controller.signal).then(this.#end);
    }
    return controller;
  }

  #end = () => {
    if (!this.#over) return;
    for (const caller of this.#callers) caller.removeEventListener('abort', this.#end);
    this.#over.abort(over);
  };
}
