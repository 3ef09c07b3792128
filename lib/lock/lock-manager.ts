import { randomUUID } from 'node:crypto';
import createDebug from 'debug';
import type { Clock } from './clock.ts';
import { systemClock } from './clock.ts';
import {
  LockContendedError,
  LockLostError,
  SessionGoneError,
  StoreUnavailableError,
} from './errors.ts';
import { HeldLock } from './held-lock.ts';
import type { Lock } from './lock.ts';
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
import { WaitLimit } from './wait-limit.ts';
import { WakeUps } from './wake-ups.ts';

const log = createDebug('berth:lock');

/** A request may name this many locks (etcd's limit of operations per transaction, halved). */
export const maxLocks = 64;

/** The net below the watch: a waiter looks for itself this often. */
const pollMs = 5_000;

/** How long an unlock, or the end of a failed request, waits for the store before going on. */
const patienceMs = 2_000;

/** How long a guarded write is repeated while the store does not answer. */
const commitPatienceMs = 10_000;

/** How old a ticket of ours that nobody knows must be before it is taken for a stray. */
const strayDelayMs = 1_000;

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
  readonly #held = new Map<string, HeldLock>();
  /** Tickets of this process, wanted or being removed; any other of our session is a stray. */
  readonly #known = new Set<string>();
  readonly #closing = new AbortController();
  readonly #background = new Set<Promise<void>>();
  #isLookingForStrays = false;
  #straysAreOurs: boolean;

  constructor(options: LockManagerOptions) {
    this.#store = options.store;
    this.#clock = options.clock ?? systemClock();
    this.#host = options.host;
    this.#sessions = new SessionKeeper({
      store: options.store,
      clock: this.#clock,
      ttlMs: options.ttlMs,
      owner: options.owner,
      ...(options.keep ? { keep: options.keep } : {}),
    });
    this.mirror = new StoreMirror(options.store);
    this.#wakeUps = new WakeUps(this.mirror);
    this.#straysAreOurs = options.keep?.resume === undefined;
    this.mirror.listen((event) => {
      if (event.kind === 'interrupted') return;
      if (event.kind === 'change') {
        this.#noticeLosses(event.change.removedTickets.map(({ nonce }) => nonce));
        this.#noticeStrays(event.change.tickets);
      } else {
        this.#noticeLosses([...this.#held.keys()]);
        this.#noticeStrays(this.mirror.tickets());
      }
    });
  }

  /**
   * Waits for all the locks and takes them in one step. Locks named twice are merged.
   * Rejects LockTimeoutError, LockCancelledError, LockContendedError (time-out 0),
   * StoreUnavailableError, or what `onWait` threw; nothing is then held and no ticket is left.
   */
  async lock(locks: readonly LockRequest[], options: LockOptions): Promise<Lock> {
    const merged = mergeRequests(locks);
    const names = merged.map(({ name }) => name);
    using limit = new WaitLimit(this.#clock, options.signal, options.timeoutMs || undefined);
    const isTry = options.timeoutMs === 0;
    for (;;) {
      if (limit.isOver) throw limit.error(names);
      const session = await this.#session(limit, isTry);
      const request = this.#request(session, merged, options);
      this.#known.add(request.nonce);
      try {
        const ticket = isTry
          ? await this.#try(request)
          : await this.#queue(request, session, limit, options);
        session.throwIfLapsed();
        const lock = new HeldLock(ticket, session, this.#ownerOfHeld);
        this.#held.set(ticket.nonce, lock);
        log('granted %s reason=%s token=%d', names.join('+'), options.reason, ticket.token);
        return lock;
      } catch (error) {
        if (error instanceof LockContendedError && isTry) this.#known.delete(request.nonce);
        else await this.#remove(request);
        if (error instanceof SessionGoneError) {
          session.gone(); // Take a new session and queue again.
          continue;
        }
        if (error instanceof StoreUnavailableError && limit.isOver) throw limit.error(names);
        throw error;
      }
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
    const session = await this.#sessions.get();
    if (session.id !== ticket.session) return undefined;
    const standing = this.#held.get(ticket.nonce);
    if (standing && !standing.signal.aborted) return standing;
    const placement = await this.#store.place(ticket);
    if (placement.state !== 'granted') return undefined;
    session.throwIfLapsed();
    this.#known.add(ticket.nonce);
    const lock = new HeldLock(ticket, session, this.#ownerOfHeld);
    this.#held.set(ticket.nonce, lock);
    return lock;
  }

  /**
   * Opens the session now, instead of at the first lock. Answers whether an earlier process's was
   * resumed; its tickets are then kept until `dropStrays`.
   */
  async open(): Promise<{ readonly sessionId: string; readonly resumed: boolean }> {
    const { id, resumed } = await this.#sessions.get();
    if (!resumed) this.#straysAreOurs = true;
    return { sessionId: id, resumed };
  }

  /** Every ticket of this session that nobody here knows is removed, from now on. */
  async dropStrays(): Promise<void> {
    this.#straysAreOurs = true;
    for (const ticket of await this.#store.tickets()) {
      if (this.#isStray(ticket)) await this.#store.remove(ticket);
    }
  }

  /** Calls back when, after a lapse, the store answers again: `attach` then tells what is left. */
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

  /** Ends everything. `keep`: the session and its tickets are left to the next process. */
  async close({ keep }: { readonly keep: boolean }): Promise<void> {
    if (!keep) await Promise.all([...this.#held.values()].map((lock) => lock.unlock()));
    this.#closing.abort();
    await Promise.all(this.#background);
    this.mirror[Symbol.dispose]();
    await this.#sessions.close({ keep });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close({ keep: false });
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
    throw new LockContendedError(
      request.locks.map(({ name }) => name),
      placement.blockers,
    );
  }

  async #queue(
    request: TicketRequest,
    session: Session,
    limit: WaitLimit,
    { onWait }: LockOptions,
  ): Promise<Ticket> {
    const names = request.locks.map(({ name }) => name);
    let placement: Placement = await limit.untilAnswered(() => this.#store.enqueue(request));
    while (placement.state === 'waiting') {
      const { ticket }: Waiting = placement;
      limit.blockers = placement.blockers;
      onWait?.(placement.blockers);
      await this.#waitForChange(placement, session, limit);
      if (limit.isOver) throw limit.error(names);
      session.throwIfLapsed();
      placement = await limit.untilAnswered(() => this.#store.place(ticket));
    }
    if (placement.state === 'granted') return placement.ticket;
    throw new LockLostError(`the request for ${names.join(' + ')} was removed while it waited`);
  }

  /** Until a blocker goes, our own ticket goes, the session lapses, or the net's time is up. */
  async #waitForChange(waiting: Waiting, session: Session, limit: WaitLimit): Promise<void> {
    const nonces = [waiting.ticket, ...waiting.blockers].map(({ nonce }) => nonce);
    const stop = AbortSignal.any([limit.signal, session.tenure]);
    await this.#wakeUps.wait(nonces, waiting, this.#clock, pollMs, stop);
  }

  readonly #ownerOfHeld = {
    release: (ticket: Ticket) => this.#remove(ticket),
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
    const signal = this.#held.get(ticket.nonce)?.signal;
    using limit = new WaitLimit(this.#clock, signal, commitPatienceMs);
    const committed = await limit.untilAnswered(() =>
      this.#store.commit({ guards: [ticket], writes, release: release ? [ticket] : [] }),
    );
    this.mirror.wrote(committed.revision, writes);
    if (release) this.#known.delete(ticket.nonce);
    return committed;
  }

  /**
   * Removes a ticket that may or may not be in the store. Resolves when it is gone, or after a
   * while: the removal then goes on in the background until the store has confirmed it.
   */
  async #remove(ticket: Ticket | TicketRequest): Promise<void> {
    const removal = this.#removeUntilGone(ticket);
    this.#background.add(removal);
    void removal.then(() => this.#background.delete(removal));
    const enough = new AbortController();
    await Promise.race([removal, this.#clock.sleep(patienceMs, enough.signal)]);
    enough.abort();
  }

  async #removeUntilGone(ticket: Ticket | TicketRequest): Promise<void> {
    for (let pauseMs = 50; ; pauseMs = Math.min(pauseMs * 2, 2_000)) {
      try {
        await this.#store.remove(ticket);
        break;
      } catch (error) {
        log('removal of %s failed: %s', ticket.nonce, error);
      }
      await this.#clock.sleep(pauseMs, this.#closing.signal);
      if (this.#closing.signal.aborted || this.#isSessionGone(ticket.session)) break;
    }
    this.#known.delete(ticket.nonce);
  }

  #isSessionGone(id: string): boolean {
    const current = this.#sessions.current;
    return current !== undefined && (current.id !== id || current.isGone);
  }

  /** Tells the holders whose tickets are not in the store any more. */
  #noticeLosses(nonces: readonly string[]): void {
    for (const nonce of nonces) {
      const lock = this.#held.get(nonce);
      if (!lock || this.mirror.ticket(nonce) || lock.token > this.mirror.revision) continue;
      lock.lose('its ticket was removed, by an operator or because the store ended the session');
    }
  }

  /**
   * A write whose answer was lost may arrive after we have given it up, and leave a ticket that
   * nobody would ever remove. Looked for a little later, when its owner has had time to know it.
   */
  #noticeStrays(tickets: readonly Ticket[]): void {
    if (!this.#straysAreOurs || this.#isLookingForStrays) return;
    if (!tickets.some((ticket) => this.#isStray(ticket))) return;
    this.#isLookingForStrays = true;
    void this.#clock.sleep(strayDelayMs, this.#closing.signal).then(async () => {
      this.#isLookingForStrays = false;
      if (this.#closing.signal.aborted) return;
      for (const ticket of this.mirror.tickets()) {
        if (this.#isStray(ticket)) await this.#remove(ticket);
      }
    });
  }

  #isStray(ticket: Ticket): boolean {
    return ticket.session === this.#sessions.current?.id && !this.#known.has(ticket.nonce);
  }
}

/** One request per name; exclusive wins over shared. */
function mergeRequests(locks: readonly LockRequest[]): LockRequest[] {
  const merged = new Map<string, LockRequest>();
  for (const lock of locks) {
    if (merged.get(lock.name)?.mode !== 'exclusive') merged.set(lock.name, lock);
  }
  if (merged.size === 0 || merged.size > maxLocks) {
    throw new RangeError(`a request takes 1 to ${maxLocks} locks, not ${merged.size}`);
  }
  if (merged.has('')) throw new RangeError('a lock needs a name');
  return [...merged.values()];
}
