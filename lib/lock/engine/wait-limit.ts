import type { Clock } from '../../running/clock.ts';
import {
  LockCancelledError,
  LockTimeoutError,
  StoreRefusedError,
  StoreUnavailableError,
} from '../errors.ts';
import type { Ticket } from '../ticket.ts';

/** A shared reason: an Error per abort would capture a stack for nothing. */
const over = 'the wait is over';

/** The longest duration, 31,000 years: with the time of day it is still a date. */
const longestMs = 1e15;

/** The longest TTL, 24 days; some stores keep no session for much longer. */
const longestTtlMs = 2 ** 31 - 1;

/** Throws RangeError unless `ms` is a whole number of milliseconds, at least `least`. */
export function checkDuration(what: string, ms: number, least: number, most = longestMs): void {
  if (Number.isInteger(ms) && ms >= least && ms <= most) return;
  throw new RangeError(`${what} is a whole number of ms from ${least} to ${most}, not ${ms}`);
}

/** Throws RangeError unless `ms` is such a number, or undefined or Infinity: no limit. */
export function checkLimit(what: string, ms: number | undefined, least: number): void {
  if (ms !== undefined && ms !== Number.POSITIVE_INFINITY) checkDuration(what, ms, least);
}

/** Throws RangeError unless `ttlMs` is a TTL that a session can have. */
export function checkTtl(what: string, ttlMs: number, least: number): void {
  checkDuration(what, ttlMs, least, longestTtlMs);
}

/**
 * The limit of one request's wait: it ends when one of the callers' signals aborts, the caller gives up,
 * or the time is up. Disposing the limit removes its timer and listeners.
 */
export class WaitLimit implements Disposable {
  readonly #clock: Clock;
  readonly #startedAt: number;
  readonly #callers: readonly AbortSignal[];
  readonly #timeoutMs: number;
  /** Created when somebody waits for it: most requests never wait. */
  #over: AbortController | undefined;
  #givenUp: { readonly error: unknown } | undefined;

  constructor(clock: Clock, callers: readonly AbortSignal[], timeoutMs: number | undefined) {
    checkLimit('a time-out', timeoutMs, 0);
    this.#clock = clock;
    this.#startedAt = clock.now();
    this.#callers = callers;
    this.#timeoutMs = timeoutMs ?? Number.POSITIVE_INFINITY;
  }

  /** Aborts when the wait is over, cancelled or timed out. */
  get signal(): AbortSignal {
    this.#over ??= this.#watch();
    return this.#over.signal;
  }

  get isOver(): boolean {
    return this.#over?.signal.aborted || this.isCancelled || this.#leftMs() <= 0;
  }

  /** A caller's signal has aborted, or the caller has given up. */
  get isCancelled(): boolean {
    return this.#givenUp !== undefined || this.#callers.some(({ aborted }) => aborted);
  }

  /** Ends the wait with an error of the caller's own. */
  giveUp(error: unknown): void {
    this.#givenUp ??= { error };
    this.#end();
  }

  /** Returns the error for the caller when the wait is over; `blockers` are in the way. */
  error(lockNames: readonly string[], blockers: readonly Ticket[]): unknown {
    if (this.#givenUp) return this.#givenUp.error;
    const cause = this.#callers.find(({ aborted }) => aborted)?.reason;
    if (this.isCancelled) {
      return new LockCancelledError(`the request for ${lockNames.join(' + ')} was cancelled`, {
        cause,
      });
    }
    return new LockTimeoutError(lockNames, blockers, this.#clock.now() - this.#startedAt);
  }

  /**
   * Makes `call` at least once, and repeats it while the store does not answer and the wait is not
   * over. `call` must be safe to repeat. Rejects with the store's last error; a refusal at once.
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
    if (this.#timeoutMs === Number.POSITIVE_INFINITY) return this.#timeoutMs;
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
