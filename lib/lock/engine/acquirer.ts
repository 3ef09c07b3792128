import type { Clock } from '../../running/clock.ts';
import { inTheWayOf } from '../conflicts.ts';
import {
  HistoryChangedError,
  LockContendedError,
  LockDisabledError,
  LockLostError,
  PermitsDifferError,
  SessionGoneError,
  StoreRefusedError,
  StoreUnavailableError,
} from '../errors.ts';
import type { Lock } from '../lock.ts';
import type { StatedOptions } from '../locks.ts';
import type { Granted, Placement, TicketStore, Waiting } from '../stores/ticket-store.ts';
import type { LockRequest, Ticket, TicketRequest } from '../ticket.ts';
import { namesOf } from '../ticket.ts';
import type { Grant } from './held-lock.ts';
import { isProvedByMirror } from './mirror-proof.ts';
import type { OwnTickets } from './own-tickets.ts';
import type { Session } from './session.ts';
import type { SessionPool } from './session-pool.ts';
import type { StoreMirror } from './store-mirror.ts';
import { WaitLimit } from './wait-limit.ts';
import { WakeUps } from './wake-ups.ts';

/** How often a waiter asks the store itself while the watch is broken. */
const pollMs = 5_000;

/** While the watch works, a waiter polls this many times less often (safety net). */
const quietPolls = 6;

export interface AcquirerOptions {
  readonly store: TicketStore;
  readonly clock: Clock;
  readonly host: string;
  /** The host's identity. */
  readonly owner: string;
  readonly sessions: SessionPool;
  readonly mirror: StoreMirror;
  readonly tickets: OwnTickets;
  readonly closing: AbortSignal;
  /** Returns a random and unique text. */
  readonly newNonce: () => string;
  /** Creates the lock of a granted ticket. */
  readonly grant: (grant: Grant, session: Session, options: StatedOptions) => Lock;
}

/** Takes a request from the call to the grant: opens its session, queues its ticket, waits. */
export class Acquirer {
  readonly #options: AcquirerOptions;
  readonly #wakeUps: WakeUps;

  constructor(options: AcquirerOptions) {
    this.#options = options;
    this.#wakeUps = new WakeUps(options.mirror);
  }

  /** Acquires the locks. Rejects as `Locks.lock`; nothing is then held and no ticket is left. */
  async acquire(locks: readonly LockRequest[], options: StatedOptions): Promise<Lock> {
    const { signal, timeoutMs } = options;
    const callers = [this.#options.closing, ...(signal ? [signal] : [])];
    using limit = new WaitLimit(
      this.#options.clock,
      callers,
      timeoutMs === 0 ? undefined : timeoutMs,
    );
    using _session = this.#options.sessions.using(options.ttlMs);
    for (;;) {
      try {
        return await this.#acquireOnce(locks, options, limit);
      } catch (error) {
        if (limit.isCancelled) throw limit.error(namesOf(locks), []);
        // The next round opens a new session and queues the request again.
        if (!(error instanceof SessionGoneError)) throw error;
      }
    }
  }

  async #acquireOnce(
    locks: readonly LockRequest[],
    options: StatedOptions,
    limit: WaitLimit,
  ): Promise<Lock> {
    if (limit.isOver) throw limit.error(namesOf(locks), []);
    const isTry = options.timeoutMs === 0;
    const session = await this.#session(limit, isTry, options.ttlMs);
    const request = this.#request(session, locks, options);
    this.#options.tickets.add(request);
    const sending = new Sending();
    try {
      const granted = isTry
        ? await this.#try(request, sending)
        : await this.#queue(request, sending, session, limit, options);
      const { historyId } = this.#options.store;
      const grant = await this.#withRead(request, granted, isTry ? undefined : limit);
      if (!isTry) await this.#outlastLapse(session, grant.ticket, limit, options.ttlMs);
      if (limit.isCancelled) throw limit.error(namesOf(locks), []);
      if (historyId !== this.#options.store.historyId) {
        throw new StoreUnavailableError(
          'the store was put back to another state during the request',
        );
      }
      session.throwIfLapsed();
      const lock = this.#options.grant(grant, session, options);
      lock.throwIfLost();
      return lock;
    } catch (error) {
      const isRefused = [LockContendedError, LockDisabledError, PermitsDifferError].some(
        (refusal) => error instanceof refusal,
      );
      if (!sending.isWritten || (isTry && isRefused)) this.#options.tickets.forget(request);
      else await this.#options.tickets.remove(request);
      if (error instanceof SessionGoneError) this.#options.sessions.ended(session);
      throw error;
    }
  }

  /** Returns a session that has not lapsed; a request that may wait also waits for a renewal. */
  async #session(limit: WaitLimit, isTry: boolean, ttlMs?: number): Promise<Session> {
    const ask = async () => {
      const session = await this.#options.sessions.get(ttlMs);
      session.checkDeadline();
      if (!session.isLapsed) return session;
      const { reason: cause } = session.sessionPeriod;
      const { name } = this.#options.store;
      const text =
        cause instanceof HistoryChangedError
          ? `${cause.message}, and has not renewed the session of this host yet`
          : `the store (${name}) has not answered for longer than this host may act without it: ${session.complaint}`;
      throw new StoreUnavailableError(text, { cause });
    };
    return isTry ? ask() : limit.untilAnswered(ask);
  }

  /**
   * Waits for a renewal if the session lapsed while the lock was granted; then the ticket may still
   * stand. Rejects SessionGoneError, so that the request is queued again, if the session is gone.
   */
  async #outlastLapse(
    session: Session,
    ticket: Ticket,
    limit: WaitLimit,
    ttlMs?: number,
  ): Promise<void> {
    session.checkDeadline();
    if (!session.isLapsed) return;
    if ((await this.#session(limit, false, ttlMs)) !== session) {
      throw new SessionGoneError(`session ${session.id} has ended`);
    }
    if (await limit.untilAnswered(() => this.#options.store.stands(ticket))) return;
    throw new LockLostError('the request was removed while the store was away');
  }

  #request(session: Session, locks: readonly LockRequest[], options: StatedOptions): TicketRequest {
    const nonce = this.#options.newNonce();
    const { claim } = options;
    return {
      session: session.id,
      nonce,
      locks,
      kind: options.kind ?? 'other',
      owner: this.#options.owner,
      holder: {
        host: options.holder ?? this.#options.host,
        reason: options.reason,
        since: this.#options.clock.date().toISOString(),
        ...(options.detail === undefined ? {} : { detail: options.detail }),
      },
      ...(options.mark === undefined ? {} : { mark: options.mark }),
      ...(claim && { claim: { key: claim.prefix + nonce, value: claim.value } }),
      ...(options.read === undefined ? {} : { read: options.read }),
      ...(options.readBelow === undefined ? {} : { readBelow: options.readBelow }),
      ...(options.freesSpace && { freesSpace: true }),
      ...(options.proof !== undefined && { proof: options.proof }),
    };
  }

  /** Reads the record that the request names, unless the store's answer has it. */
  async #withRead(
    { read, readBelow }: TicketRequest,
    { ticket, read: answered }: Granted,
    limit: WaitLimit | undefined,
  ): Promise<Grant> {
    if (read === undefined) return { ticket };
    if (answered) return { ticket, read: answered };
    const { store } = this.#options;
    const ask = async () => ({
      record: await store.record(read),
      ...(readBelow === undefined ? {} : { below: await store.records(readBelow) }),
    });
    return { ticket, read: await (limit ? limit.untilAnswered(ask) : ask()) };
  }

  async #try(request: TicketRequest, sending: Sending): Promise<Granted> {
    const placement = await sending.send(() => this.#options.store.tryEnqueue(request));
    if (placement.state === 'granted') return placement;
    if (placement.state === 'disabled') throw new LockDisabledError(placement.gates);
    const blockers = this.#firstInTheWay(request.locks, placement.blockers);
    throw new LockContendedError(namesOf(request.locks), blockers);
  }

  async #queue(
    request: TicketRequest,
    sending: Sending,
    session: Session,
    limit: WaitLimit,
    { onWait }: StatedOptions,
  ): Promise<Granted> {
    const names = namesOf(request.locks);
    let { historyId } = this.#options.store;
    let placement: Placement = await limit.untilAnswered(() =>
      sending.send(() => this.#options.store.enqueue(request)),
    );
    let reported = '';
    while (placement.state === 'waiting') {
      const { ticket, blockers }: Waiting = placement;
      const inTheWay = blockers.map(({ nonce }) => nonce).join();
      // After a needless wake-up (the mirror was reset, say) the blockers are the same.
      // A promise that `onWait` returns is not awaited: the request may be granted meanwhile.
      if (inTheWay !== reported && !limit.isOver) {
        Promise.resolve(onWait?.(blockers)).catch((error) => limit.giveUp(error));
      }
      reported = inTheWay;
      await this.#waitForChange(placement, session, limit);
      if (limit.isOver) throw limit.error(names, this.#firstInTheWay(request.locks, blockers));
      const { proof } = request;
      const { canBeResumed } = session;
      placement = isProvedByMirror({ proof, canBeResumed }, ticket, historyId, this.#options)
        ? { state: 'granted', ticket }
        : await limit.untilAnswered(() => this.#options.store.place(ticket));
      if (historyId !== this.#options.store.historyId && placement.state === 'gone') {
        // The ticket is not in the store's new history: it is queued there.
        historyId = this.#options.store.historyId;
        placement = await limit.untilAnswered(() => this.#options.store.enqueue(request));
      }
    }
    if (placement.state === 'granted') return placement;
    if (placement.state === 'disabled') throw new LockDisabledError(placement.gates);
    throw new LockLostError(`the request for ${names.join(' + ')} was removed while it waited`);
  }

  /**
   * Resolves when a blocker or our own ticket goes, a gate is closed, the session ends, or it is
   * time to poll. A waiter holds no lock, so a lapse does not cost it its place.
   */
  async #waitForChange(waiting: Waiting, session: Session, limit: WaitLimit): Promise<void> {
    const stops = session.isLapsed ? [limit.signal] : [limit.signal, session.sessionPeriod];
    for (let polls = 1; polls <= quietPolls; polls += 1) {
      if (await this.#wakeUps.wait(waiting, this.#options.clock, pollMs, stops)) return;
      if (!this.#options.mirror.isLive) return;
    }
  }

  /**
   * Returns the holders, for the error that people read. The store answers only the nearest ticket
   * in the way, which may be another waiter; the mirror, if it has that ticket, knows the holders.
   */
  #firstInTheWay(locks: readonly LockRequest[], nearest: readonly Ticket[]): readonly Ticket[] {
    if (!nearest.every(({ nonce }) => this.#options.mirror.ticket(nonce))) return nearest;
    const last = Math.max(...nearest.map(({ token }) => token));
    const heads = locks.flatMap((lock) => {
      const earlier = this.#options.mirror
        .ticketsOn(lock.name)
        .filter(({ token }) => token <= last);
      return inTheWayOf(lock, earlier).slice(0, lock.mode === 'permit' ? lock.permits : 1);
    });
    return [...new Set(heads)];
  }
}

/** The calls that queue one request. */
class Sending {
  /** False as long as it is certain that the store has not written the request. */
  isWritten = false;

  async send<T>(call: () => Promise<T>): Promise<T> {
    try {
      const answer = await call();
      this.isWritten = true;
      return answer;
    } catch (error) {
      if (!(error instanceof StoreRefusedError)) this.isWritten = true;
      throw error;
    }
  }
}
