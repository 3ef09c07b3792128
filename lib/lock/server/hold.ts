import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { z } from 'zod';
import type { Clock } from '../../running/clock.ts';
import { messageOf } from '../../running/message-of.ts';
import type { Lock } from '../lock.ts';
import type { LockOptions, Locks } from '../locks.ts';
import type { holdBody } from './bodies.ts';
import type { LockEvent } from './events.ts';
import { failureOf, holdersReply, RefusedError, sendFailure } from './events.ts';

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

/**
 * A client ends its work when it has read nothing for this part of the TTL. A line is sent only while the lock
 * is held for at least that long without another renewal, whose pause is a third of the TTL.
 */
const silencePart = 2;
const linesPerSilence = 3;
/** The longest time between two lines, however long the TTL is. */
const mostSilentMs = 10_000;
/** Nothing follows them. */
const lastEvents: ReadonlySet<LockEvent['event']> = new Set(['lost', 'released', 'error']);

/**
 * One request for a lock. `run` resolves when the connection has ended, or the last line was sent; the
 * lock is then unlocked, or was lost.
 */
export class Hold {
  readonly name: string;
  readonly #options: HoldOptions;
  readonly #ttlMs: number;
  readonly #maxSilenceMs: number;
  readonly #leaving = new AbortController();
  /** Aborted when the client is asked to end its work by the last line. */
  readonly #asked = new AbortController();
  readonly #unlocked = Promise.withResolvers<void>();
  readonly #cut = new AbortController();
  #lock: Lock | undefined;
  #isGranted = false;
  #lastLine: LockEvent | undefined;
  #isOver = false;

  constructor(options: HoldOptions) {
    const { request } = options;
    this.name = request.name;
    this.#options = options;
    this.#ttlMs = request.ttlMs ?? options.ttlMs;
    this.#maxSilenceMs = Math.floor(this.#ttlMs / silencePart);
  }

  /** The token of the lock; undefined while the request waits. */
  get token(): number | undefined {
    return this.#lock?.token;
  }

  /**
   * Asks the client to end its work, then unlocks the lock. Resolves when the store has confirmed it, or is
   * away.
   */
  release(): Promise<void> {
    this.#ask({ event: 'released' });
    return this.#unlocked.promise;
  }

  /**
   * Asks a holder to end its work, within `leastMs` or more; refuses a request that waits. Returns how long the client may work:
   * one that is cut off does not read of it, and ends after its time of silence.
   */
  stopping(leastMs: number): number {
    if (!this.#isGranted) {
      this.#cut.abort(new RefusedError(503, 'unavailable', 'the lock server stops'));
      return 0;
    }
    const graceMs = Math.max(leastMs, this.#maxSilenceMs);
    const limit = `within ${graceMs / 1_000} s`;
    const message = `the lock server stops: end the work and close the connection ${limit}`;
    this.#send({ event: 'stopping', graceMs, message });
    return graceMs;
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
      await this.#untilLongEnough(lock);
      this.#isGranted = true;
      this.#send({ event: 'granted', token: lock.token, maxSilenceMs: this.#maxSilenceMs });
      this.#send(await this.#ended(lock));
      await this.#untilWorkEnded(lock);
    } catch (error) {
      this.#fail(error);
    }
    this.#unlocked.resolve();
    response.end();
    this.#leaving.abort();
    await saying;
  }

  #acquired(): Promise<Lock> {
    const { locks, request, response } = this.#options;
    const { name, mode = 'exclusive', permits, ...limits } = request;
    const { waitMs, ttlMs, owner, reason, detail } = limits;
    const from = response.req.socket.remoteAddress;
    const options: LockOptions = {
      signal: AbortSignal.any([this.#leaving.signal, this.#cut.signal]),
      holder: owner ?? from ?? 'unknown',
      ...(reason !== undefined && { reason }),
      ...(detail !== undefined && { detail }),
      ...(waitMs !== undefined && { timeoutMs: waitMs }),
      ...(ttlMs !== undefined && { ttlMs }),
      onWait: (blockers) => {
        this.#send({ event: 'waiting', ...holdersReply(blockers) });
      },
    };
    return locks.lock(permits === undefined ? { name, mode } : { name, permits }, options);
  }

  /**
   * Resolves when the lock is held for as long as a client may read nothing. Rejects with why it is not held any
   * more, or RefusedError if the store answers too slowly.
   */
  async #untilLongEnough(lock: Lock): Promise<void> {
    const { clock } = this.#options;
    const stops = AbortSignal.any([this.#leaving.signal, this.#cut.signal, lock.signal]);
    const until = clock.now() + this.#ttlMs;
    while (!this.#isLongEnough(lock)) {
      if (clock.now() >= until) {
        const message = `the store answers too slowly for a TTL of ${this.#ttlMs / 1_000} s: use a longer one`;
        throw new RefusedError(503, 'unavailable', message);
      }
      await clock.sleep(Math.max(10, this.#maxSilenceMs / 100), stops);
      stops.throwIfAborted();
    }
  }

  /** Resolves to the last line, when the lock has to end or is lost, or the connection has ended. */
  async #ended(lock: Lock): Promise<LockEvent> {
    const { clock, request } = this.#options;
    const stops = [this.#leaving.signal, this.#cut.signal, this.#asked.signal, lock.signal];
    const any = AbortSignal.any(stops);
    if (request.maxHoldMs !== undefined) {
      void clock.sleep(request.maxHoldMs, any).then(() => {
        const message = `lost the lock on ${this.name}: its longest hold has passed`;
        if (!any.aborted) this.#ask({ event: 'lost', message });
      });
    }
    if (!any.aborted) await once(any, 'abort');
    if (this.#lastLine) return this.#lastLine;
    const { aborted, reason } = this.#cut.signal;
    return { event: 'lost', message: messageOf(aborted ? reason : lock.signal.reason) };
  }

  #ask(lastLine: LockEvent): void {
    this.#lastLine ??= lastLine;
    this.#asked.abort();
  }

  /**
   * Resolves when a client that was asked to end its work has done so: it has closed its connection, or it must
   * have noticed for long that it reads nothing. Without that the next holder would begin before it has ended.
   */
  async #untilWorkEnded(lock: Lock): Promise<void> {
    const stops = [this.#leaving.signal, this.#cut.signal, lock.signal];
    if (this.#lastLine) await this.#options.clock.sleep(this.#ttlMs, AbortSignal.any(stops));
  }

  /** Sends a line several times in the time of silence, while the lock is held for as long as the next may fail to come. */
  async #sayAlive(): Promise<void> {
    const { clock } = this.#options;
    const { signal } = this.#leaving;
    while (!signal.aborted) {
      await clock.sleep(Math.min(this.#maxSilenceMs / linesPerSilence, mostSilentMs), signal);
      // Lines begin with the first one of the request itself: what fails before has a status.
      if (signal.aborted || !this.#options.response.headersSent) continue;
      if (this.#lock === undefined || this.#isLongEnough(this.#lock))
        this.#send({ event: 'alive' });
    }
  }

  /** A client goes on for the time of silence after each line, whatever happens to the server and the store. */
  #isLongEnough(lock: Lock): boolean {
    return lock.leftMs >= this.#maxSilenceMs;
  }

  #send(event: LockEvent): void {
    const { response } = this.#options;
    if (response.closed || response.writableEnded || this.#isOver) return;
    this.#isOver = lastEvents.has(event.event);
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
