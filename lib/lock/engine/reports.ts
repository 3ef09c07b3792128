import type { Clock } from '../../running/clock.ts';
import { messageOf } from '../../running/message-of.ts';
import { LockError } from '../errors.ts';
import type { Lock } from '../lock.ts';
import type { StatedOptions } from '../locks.ts';
import type { LockObserver } from '../observer.ts';
import type { LockRequest, Ticket } from '../ticket.ts';
import { namesOf } from '../ticket.ts';
import type { LockSpan, LockTracer } from '../tracer.ts';

/** OpenTelemetry's code for a span that failed. */
const failedStatus = 2;

export interface ReportsOptions {
  readonly clock: Clock;
  readonly tracer?: LockTracer | undefined;
  readonly observer?: LockObserver | undefined;
}

/** Reports requests, unlocks, losses and renewals to the tracer and the observer, if given. */
export class Reports {
  readonly #clock: Clock;
  readonly #tracer: LockTracer | undefined;
  readonly #observer: LockObserver | undefined;

  constructor({ clock, tracer, observer }: ReportsOptions) {
    this.#clock = clock;
    this.#tracer = tracer;
    this.#observer = observer;
  }

  /** Reports one request, from the call to its outcome: a span `lock.acquire`. */
  async request(
    locks: readonly LockRequest[],
    options: StatedOptions,
    acquire: (options: StatedOptions) => Promise<Lock>,
  ): Promise<Lock> {
    if (!this.#tracer && !this.#observer) return acquire(options);
    const { reason, onWait } = options;
    const startedAt = this.#clock.now();
    const span = this.#span('lock.acquire', locks, reason);
    let hasWaited = false;
    let outcome = 'granted';
    try {
      const lock = await acquire({
        ...options,
        onWait: (blockers) => {
          hasWaited = true;
          return onWait?.(blockers);
        },
      });
      span?.setAttribute('berth.lock.token', lock.token);
      return lock;
    } catch (error) {
      outcome = error instanceof LockError ? error.code : 'failed';
      fail(span, error);
      throw error;
    } finally {
      span?.setAttributes({ 'berth.lock.waited': hasWaited, 'berth.lock.outcome': outcome });
      span?.end();
      this.#observer?.count('requests', { reason, outcome });
      this.#observer?.measure('wait', this.#secondsSince(startedAt), { reason, outcome });
    }
  }

  /** Reports one unlock, until it is confirmed or moves to the background: a span `lock.unlock`. */
  async unlock({ locks, holder, token }: Ticket, release: () => Promise<void>): Promise<void> {
    if (!this.#tracer && !this.#observer) return release();
    const startedAt = this.#clock.now();
    const span = this.#span('lock.unlock', locks, holder.reason);
    span?.setAttribute('berth.lock.token', token);
    try {
      await release();
    } catch (error) {
      fail(span, error);
      throw error;
    } finally {
      span?.end();
      this.#observer?.measure('unlock', this.#secondsSince(startedAt), { reason: holder.reason });
    }
  }

  /** Reports that a lock is not held any more. */
  ended({ holder: { reason } }: Ticket, isLost: boolean, heldAt: number): void {
    if (isLost) this.#observer?.count('losses', { reason });
    this.#observer?.measure('hold', this.#secondsSince(heldAt), { reason });
  }

  /** Reports an attempt to renew a session. */
  renewal(outcome: 'renewed' | 'failed' | 'gone', sentAt: number): void {
    this.#observer?.count('renewals', { outcome });
    this.#observer?.measure('renewal', this.#secondsSince(sentAt), { outcome });
  }

  #span(name: string, locks: readonly LockRequest[], reason: string): LockSpan | undefined {
    const attributes = { 'berth.lock.names': namesOf(locks), 'berth.lock.reason': reason };
    return this.#tracer?.startSpan(name, { attributes });
  }

  #secondsSince(startedAt: number): number {
    return (this.#clock.now() - startedAt) / 1000;
  }
}

function fail(span: LockSpan | undefined, error: unknown): void {
  span?.setStatus({ code: failedStatus, message: messageOf(error) });
}
