import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { z } from 'zod';
import type { Clock } from '../../running/clock.ts';
import { messageOf } from '../../running/message-of.ts';
import type { Lock } from '../lock.ts';
import type { LockOptions, Locks } from '../locks.ts';
import type { holdBody } from './bodies.ts';
import type { LockEvent } from './events.ts';
import { failureOf, holderReply, RefusedError, sendFailure } from './events.ts';

export interface HoldRequest extends z.infer<typeof holdBody> {
  readonly name: string;
}

export interface HoldOptions {
  readonly locks: Pick<Locks, 'lock'>;
  readonly clock: Clock;
  /** The TTL of a lock for which the request names none. */
  readonly ttlMs: number;
  readonly request: HoldRequest;
  readonly response: ServerResponse;
}

/** A client ends its work when it has read nothing for this part of the TTL; a third is the renewals' pause. */
const silencePart = 2;
const linesPerSilence = 3;
/** The longest time between two lines, however long the TTL is. */
const mostSilentMs = 10_000;

/**
 * One request for a lock. `run` resolves when the connection has ended, or the last line was sent; the
 * lock is then unlocked, or was lost.
 */
export class Hold {
  readonly name: string;
  readonly #options: HoldOptions;
  readonly #maxSilenceMs: number;
  readonly #leaving = new AbortController();
  #released: Promise<void> | undefined;
  readonly #cut = new AbortController();
  #lock: Lock | undefined;

  constructor(options: HoldOptions) {
    const { request, ttlMs } = options;
    this.name = request.name;
    this.#options = options;
    this.#maxSilenceMs = Math.floor((request.ttlMs ?? ttlMs) / silencePart);
  }

  /** The token of the lock; undefined while the request waits. */
  get token(): number | undefined {
    return this.#lock?.token;
  }

  /** Unlocks the lock, and says so to its client. Resolves when the store has confirmed it, or is away. */
  release(): Promise<void> {
    this.#released ??= this.#lock?.unlock();
    return this.#released ?? Promise.resolve();
  }

  /** Asks a holder to end its work within `graceMs`; refuses a request that waits. */
  stopping(graceMs: number): void {
    if (this.#lock === undefined) {
      this.#cut.abort(new RefusedError(503, 'unavailable', 'the lock server stops'));
      return;
    }
    const limit = `within ${graceMs / 1_000} s`;
    const message = `the lock server stops: end the work and close the connection ${limit}`;
    this.#send({ event: 'stopping', graceMs, message });
  }

  /** Ends the hold: its lock is lost for the client, and is unlocked. */
  cut(): void {
    this.#cut.abort(new RefusedError(503, 'unavailable', 'the lock server has stopped'));
  }

  async run(): Promise<void> {
    const { response } = this.#options;
    if (response.closed) return;
    response.once('close', () => this.#leaving.abort());
    const saying = this.#sayAlive();
    try {
      await using lock = await this.#acquired();
      this.#lock = lock;
      this.#send({ event: 'granted', token: lock.token, maxSilenceMs: this.#maxSilenceMs });
      this.#send(await this.#ended(lock));
    } catch (error) {
      this.#fail(error);
    }
    response.end();
    this.#leaving.abort();
    await saying;
  }

  #acquired(): Promise<Lock> {
    const { locks, request, response } = this.#options;
    const { name, mode = 'exclusive', permits, ...limits } = request;
    const { waitMs, ttlMs, maxHoldMs, owner, reason, detail } = limits;
    const from = response.req.socket.remoteAddress;
    const options: LockOptions = {
      signal: AbortSignal.any([this.#leaving.signal, this.#cut.signal]),
      holder: owner ?? from ?? 'unknown',
      ...(reason !== undefined && { reason }),
      ...(detail !== undefined && { detail }),
      ...(waitMs !== undefined && { timeoutMs: waitMs }),
      ...(ttlMs !== undefined && { ttlMs }),
      ...(maxHoldMs !== undefined && { maxHoldMs }),
      onWait: (blockers) => {
        this.#send({ event: 'waiting', holders: blockers.map(holderReply) });
      },
    };
    return locks.lock(permits === undefined ? { name, mode } : { name, permits }, options);
  }

  /** Resolves to the last line, when the lock is released or lost, or the connection has ended. */
  async #ended(lock: Lock): Promise<LockEvent> {
    const any = AbortSignal.any([this.#leaving.signal, this.#cut.signal, lock.signal]);
    if (!any.aborted) await once(any, 'abort');
    if (this.#released !== undefined) {
      await this.#released;
      return { event: 'released' };
    }
    const { aborted, reason } = this.#cut.signal;
    return { event: 'lost', message: messageOf(aborted ? reason : lock.signal.reason) };
  }

  /** Sends a line several times in the time of silence, while the lock is proved at that moment. */
  async #sayAlive(): Promise<void> {
    const { clock } = this.#options;
    const { signal } = this.#leaving;
    while (!signal.aborted) {
      await clock.sleep(Math.min(this.#maxSilenceMs / linesPerSilence, mostSilentMs), signal);
      // Lines begin with the first one of the request itself: what fails before has a status.
      if (signal.aborted || !this.#options.response.headersSent) continue;
      if (this.#isProved()) this.#send({ event: 'alive' });
    }
  }

  /** Timers are late in a process that was frozen, so the deadline is compared. */
  #isProved(): boolean {
    try {
      this.#lock?.throwIfLost();
      return true;
    } catch {
      return false; // `run` says so.
    }
  }

  #send(event: LockEvent): void {
    const { response } = this.#options;
    if (response.closed || response.writableEnded) return;
    if (!response.headersSent) {
      response.writeHead(200, { 'Content-Type': 'application/x-ndjson' });
    }
    // A client that does not read gets no further lines of these two kinds, until it does.
    const isSkipped = event.event === 'waiting' || event.event === 'alive';
    if (isSkipped && response.writableNeedDrain) return;
    response.write(`${JSON.stringify(event)}\n`);
  }

  #fail(error: unknown): void {
    const { response } = this.#options;
    if (response.closed) return;
    const reason = this.#cut.signal.aborted ? this.#cut.signal.reason : error;
    if (response.headersSent) this.#send({ event: 'error', ...failureOf(reason) });
    else sendFailure(response, reason);
  }
}
