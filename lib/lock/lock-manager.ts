import { randomUUID } from 'node:crypto';
import createDebug from 'debug';
import type { Clock } from './clock.ts';
import { systemClock } from './clock.ts';
import {
  GuardLostError,
  LockCancelledError,
  LockContendedError,
  LockLostError,
  SessionGoneError,
  StoreUnavailableError,
} from './errors.ts';
import { HeldLock } from './held-lock.ts';
import type { Lock } from './lock.ts';
import { mergeRequests } from './merge-requests.ts';
import { OwnTickets } from './own-tickets.ts';
import type { Session, SessionOptions } from './session.ts';
import { SessionKeeper } from './session.ts';
import { StoreMirror } from './store-mirror.ts';
import type {
  Committed,
  Placement,
  RecordWrite,
  TicketStore,
  Waiting,
} from './stores/ticket-store.ts';
import type { LockRequest, Ticket, TicketRequest } from './ticket.ts';
import { conflicting } from './ticket.ts';
import { WaitLimit } from './wait-limit.ts';
import { WakeUps } from './wake-ups.ts';

const log = createDebug('berth:lock');

/** The net below the watch: a waiter looks for itself this often. */
const pollMs = 5_000;

/** How long a guarded write is repeated while the store does not answer. */
const commitPatienceMs = 10_000;

export interface LockManagerOptions {
  readonly store: TicketStore;
  /** The name people know this host by. */
  readonly host: string;
  /** What tells this host from all others: machine id and name. */
  readonly owner: string;
  readonly ttlMs: number;
  readonly clock?: Clock;
  /** Present when the session, with its tickets, is to survive a restart of this process. */
  readonly keep?: NonNullable<SessionOptions['keep']>;
}

export interface LockOptions {
  /** Why the lock is taken, e.g. `Mount`. */
  readonly reason: string;
  readonly detail?: string;
  readonly signal?: AbortSignal;
  /** 0: one try. Undefined: wait for ever. */
  readonly timeoutMs?: number;
  /** Called each time the request has to wait, with who is nearest in the way; throw to give up. */
  readonly onWait?: (blockers: readonly Ticket[]) => void;
}

/**
 * Distributed locks over a TicketStore. Waiting is first come, first served; several locks are
 * taken in one atomic step, so there is no order to keep and no deadlock among single requests.
 */
export class LockManager implements AsyncDisposable {
  readonly mirror: StoreMirror;
  readonly #store: TicketStore;
  readonly #clock: Clock;
  readonly #host: string;
  readonly #sessions: SessionKeeper;
  readonly #wakeUps: WakeUps;
  readonly #tickets: OwnTickets;
  readonly #held = new Map<string, HeldLock>();
  readonly #requests = new Set<Promise<Lock>>();
  readonly #closing = new AbortController();

  constructor(options: LockManagerOptions) {
    const { store, clock = systemClock(), host, owner, ttlMs, keep } = options;
    this.#store = store;
    this.#clock = clock;
    this.#host = host;
    const sessionOptions = { store, clock, ttlMs, owner };
    this.#sessions = new SessionKeeper(keep ? { ...sessionOptions, keep } : sessionOptions);
    this.mirror = new StoreMirror(store);
    this.mirror.listen((event) => {
      if (event.kind === 'change') {
        this.#noticeLosses(event.change.removedTickets.map(({ nonce }) => nonce));
      } else if (event.kind === 'reset') {
        this.#noticeLosses([...this.#held.keys()]);
      }
    });
    this.#wakeUps = new WakeUps(this.mirror);
    this.#tickets = new OwnTickets({
      store,
      clock,
      sessions: this.#sessions,
      mirror: this.mirror,
      closing: this.#closing.signal,
      resumes: keep?.resume !== undefined,
    });
  }

  /**
   * Waits for all the locks and takes them in one step. Locks named twice are merged.
   * Rejects LockTimeoutError, LockCancelledError, LockContendedError (time-out 0),
   * StoreUnavailableError, LockLostError (the request was removed while it waited), RangeError, or
   * what `onWait` threw; nothing is then held and no ticket is left.
   */
  async lock(locks: readonly LockRequest[], options: LockOptions): Promise<Lock> {
    const request = this.#acquire(mergeRequests(locks), options);
    this.#requests.add(request);
    try {
      return await request;
    } finally {
      this.#requests.delete(request);
    }
  }

  /** One try: undefined when somebody else is in the way. */
  async tryLock(
    locks: readonly LockRequest[],
    options: Omit<LockOptions, 'timeoutMs' | 'onWait'>,
  ): Promise<Lock | undefined> {
    try {
      return await this.lock(locks, { ...options, timeoutMs: 0 });
    } catch (error) {
      if (error instanceof LockContendedError) return undefined;
      throw error;
    }
  }

  /** Runs `work` under the locks; they are released after, however it ends. */
  async withLock<T>(
    locks: readonly LockRequest[],
    options: LockOptions,
    work: (lock: Lock) => Promise<T>,
  ): Promise<T> {
    await using lock = await this.lock(locks, options);
    return await work(lock);
  }

  /**
   * Takes back a lock whose ticket was granted to this host before: after a lapse, or by an
   * earlier process whose session was resumed. Undefined when the ticket is gone.
   */
  async attach(ticket: Ticket): Promise<Lock | undefined> {
    if (this.#sessions.hasEnded(ticket.session)) return undefined;
    const session = await this.#sessions.get();
    if (session.id !== ticket.session) return undefined;
    const placement = await this.#store.place(ticket);
    if (placement.state !== 'granted') return undefined;
    session.throwIfLapsed();
    return this.#held.get(ticket.nonce) ?? this.#hold(ticket, session);
  }

  /**
   * Opens the session now, instead of at the first lock. Answers whether an earlier process's was
   * resumed; its tickets are then kept until `dropStrays`.
   */
  async open(): Promise<{ readonly sessionId: string; readonly resumed: boolean }> {
    const { id, resumed } = await this.#sessions.get();
    if (!resumed) this.#tickets.ownSession();
    return { sessionId: id, resumed };
  }

  /** Every ticket of this session that nobody here knows is removed, from now on. */
  dropStrays(): Promise<void> {
    return this.#tickets.dropStrays();
  }

  /**
   * Calls back each time the store has confirmed this host's session, or that it is gone. When
   * that ends a lapse, `attach` tells what is left.
   */
  onRevived(listener: () => void): Disposable {
    return this.#sessions.onRevived(listener);
  }

  /** All tickets on one lock, as the store has them now: holders first, then waiters in order. */
  async inspect(lockName: string): Promise<readonly Ticket[]> {
    return this.#store.tickets(lockName);
  }

  /** Whether the host that a ticket belongs to has been heard of lately. */
  async isAlive(ticket: Ticket): Promise<boolean> {
    return this.#store.sessionAlive(ticket.session);
  }

  /** Removes anybody's ticket. Its holder is told as soon as it hears of it. */
  async breakLock(ticket: Ticket): Promise<void> {
    log('broken %s token=%d', ticket.locks.map(({ name }) => name).join('+'), ticket.token);
    await this.#store.remove(ticket);
  }

  /**
   * Ends everything; requests that wait are cancelled. `keep`: the session and the tickets of held
   * locks are left to the next process.
   */
  async close({ keep }: { readonly keep: boolean }): Promise<void> {
    this.#closing.abort(new LockCancelledError('berth is stopping'));
    await Promise.allSettled(this.#requests);
    if (!keep) await Promise.all([...this.#held.values()].map((lock) => lock.unlock()));
    await this.#tickets.settled();
    this.mirror[Symbol.dispose]();
    await this.#sessions.close({ keep });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close({ keep: false });
  }

  async #acquire(locks: readonly LockRequest[], options: LockOptions): Promise<Lock> {
    const { signal, timeoutMs } = options;
    const callers = [this.#closing.signal, ...(signal ? [signal] : [])];
    using limit = new WaitLimit(this.#clock, callers, timeoutMs === 0 ? undefined : timeoutMs);
    for (;;) {
      try {
        return await this.#acquireOnce(locks, options, limit);
      } catch (error) {
        if (limit.isCancelled) throw limit.error(namesOf(locks), []);
        // A session that is gone is replaced, and the request queued again.
        if (!(error instanceof SessionGoneError)) throw error;
      }
    }
  }

  async #acquireOnce(
    locks: readonly LockRequest[],
    options: LockOptions,
    limit: WaitLimit,
  ): Promise<Lock> {
    if (limit.isOver) throw limit.error(namesOf(locks), []);
    const isTry = options.timeoutMs === 0;
    const session = await this.#session(limit, isTry);
    const request = this.#request(session, locks, options);
    this.#tickets.add(request);
    try {
      const ticket = isTry
        ? await this.#try(request)
        : await this.#queue(request, session, limit, options);
      if (limit.isCancelled) throw limit.error(namesOf(locks), []);
      session.throwIfLapsed();
      return this.#hold(ticket, session);
    } catch (error) {
      if (error instanceof LockContendedError && isTry) this.#tickets.forget(request);
      else await this.#tickets.remove(request);
      if (error instanceof SessionGoneError) this.#sessions.ended(session);
      throw error;
    }
  }

  #hold(ticket: Ticket, session: Session): Lock {
    this.#tickets.add(ticket);
    const lock = new HeldLock(ticket, session, this.#ownerOfHeld);
    this.#held.set(ticket.nonce, lock);
    log('granted %s token=%d', namesOf(ticket.locks).join('+'), ticket.token);
    return lock;
  }

  async #session(limit: WaitLimit, isTry: boolean): Promise<Session> {
    const session = isTry
      ? await this.#sessions.get()
      : await limit.untilAnswered(() => this.#sessions.get());
    session.checkDeadline();
    if (!session.isLapsed) return session;
    throw new StoreUnavailableError(
      `the store (${this.#store.name}) has not answered for longer than this host may act without it`,
      { cause: session.tenure.reason },
    );
  }

  #request(session: Session, locks: readonly LockRequest[], options: LockOptions): TicketRequest {
    return {
      session: session.id,
      nonce: randomUUID(),
      locks,
      holder: {
        host: this.#host,
        reason: options.reason,
        since: this.#clock.date().toISOString(),
        ...(options.detail === undefined ? {} : { detail: options.detail }),
      },
    };
  }

  async #try(request: TicketRequest): Promise<Ticket> {
    const placement = await this.#store.tryEnqueue(request);
    if (placement.state === 'granted') return placement.ticket;
    const blockers = this.#firstInTheWay(request.locks, placement.blockers);
    throw new LockContendedError(namesOf(request.locks), blockers);
  }

  async #queue(
    request: TicketRequest,
    session: Session,
    limit: WaitLimit,
    { onWait }: LockOptions,
  ): Promise<Ticket> {
    const names = namesOf(request.locks);
    let placement: Placement = await limit.untilAnswered(() => this.#store.enqueue(request));
    while (placement.state === 'waiting') {
      const { ticket, blockers }: Waiting = placement;
      if (!limit.isOver) onWait?.(blockers);
      await this.#waitForChange(placement, session, limit);
      if (limit.isOver) throw limit.error(names, this.#firstInTheWay(request.locks, blockers));
      placement = await limit.untilAnswered(() => this.#store.place(ticket));
    }
    if (placement.state === 'granted') return placement.ticket;
    throw new LockLostError(`the request for ${names.join(' + ')} was removed while it waited`);
  }

  /**
   * Until a blocker goes, our own ticket goes, the session ends, or the net's time is up. A waiter
   * holds nothing that a lapse could put in doubt: it keeps its place if the ticket still stands.
   */
  async #waitForChange(waiting: Waiting, session: Session, limit: WaitLimit): Promise<void> {
    const nonces = [waiting.ticket, ...waiting.blockers].map(({ nonce }) => nonce);
    const stops = session.isLapsed ? [limit.signal] : [limit.signal, session.tenure];
    await this.#wakeUps.wait(nonces, waiting, this.#clock, pollMs, stops);
  }

  /**
   * People want to read who holds a lock. The store says who is nearest in the way, which may be
   * another waiter; the mirror, if it has seen that one, knows the head of each queue.
   */
  #firstInTheWay(locks: readonly LockRequest[], nearest: readonly Ticket[]): readonly Ticket[] {
    if (!nearest.every(({ nonce }) => this.mirror.ticket(nonce))) return nearest;
    const last = Math.max(...nearest.map(({ token }) => token));
    const heads = locks.flatMap((lock) => {
      const head = this.mirror
        .ticketsOn(lock.name)
        .find((ticket) => ticket.token <= last && conflicting([lock], ticket.locks));
      return head ? [head] : [];
    });
    return [...new Set(heads)];
  }

  readonly #ownerOfHeld = {
    release: (ticket: Ticket) => this.#tickets.remove(ticket),
    stillStands: async (ticket: Ticket) => (await this.#store.place(ticket)).state === 'granted',
    commit: (ticket: Ticket, writes: readonly RecordWrite[], release: boolean) =>
      this.#commit(ticket, writes, release),
    forget: (lock: HeldLock) => {
      if (this.#held.get(lock.ticket.nonce) === lock) this.#held.delete(lock.ticket.nonce);
    },
  };

  async #commit(
    ticket: Ticket,
    writes: readonly RecordWrite[],
    release: boolean,
  ): Promise<Committed> {
    const lock = this.#held.get(ticket.nonce);
    using limit = new WaitLimit(this.#clock, lock ? [lock.signal] : [], commitPatienceMs);
    let calls = 0;
    const commit = () => {
      calls += 1;
      return this.#store.commit({ guards: [ticket], writes, release: release ? [ticket] : [] });
    };
    const committed = await limit.untilAnswered(commit).catch((error) => {
      if (!(error instanceof GuardLostError) || calls === 1) throw error;
      // The call before may have done it, and the next holder have written since.
      throw new StoreUnavailableError('the store does not tell whether the change was made', {
        cause: error,
      });
    });
    this.mirror.wrote(committed.revision, writes);
    if (release) this.#tickets.forget(ticket);
    return committed;
  }

  /** Tells the holders whose tickets are not in the store any more. */
  #noticeLosses(nonces: readonly string[]): void {
    for (const nonce of nonces) {
      const lock = this.#held.get(nonce);
      if (!lock || this.mirror.ticket(nonce) || lock.token > this.mirror.revision) continue;
      lock.miss();
    }
  }
}

function namesOf(locks: readonly LockRequest[]): string[] {
  return locks.map(({ name }) => name);
}
