import createDebug from 'debug';
import type { LockOptions } from './acquirer.ts';
import { Acquirer } from './acquirer.ts';
import type { Clock } from './clock.ts';
import { systemClock } from './clock.ts';
import {
  GuardLostError,
  LockCancelledError,
  LockContendedError,
  StoreUnavailableError,
} from './errors.ts';
import { HeldLock } from './held-lock.ts';
import type { Lock } from './lock.ts';
import { mergeRequests } from './merge-requests.ts';
import { OwnTickets } from './own-tickets.ts';
import type { Session, SessionOptions } from './session.ts';
import { SessionKeeper } from './session.ts';
import { StoreMirror } from './store-mirror.ts';
import type { Committed, RecordWrite, TicketStore } from './stores/ticket-store.ts';
import type { LockRequest, Ticket } from './ticket.ts';
import { namesOf } from './ticket.ts';
import { WaitLimit } from './wait-limit.ts';

const log = createDebug('berth:lock');

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

/**
 * Distributed locks over a TicketStore. Waiting is first come, first served; several locks are
 * taken in one atomic step, so there is no order to keep and no deadlock among single requests.
 */
export class LockManager implements AsyncDisposable {
  readonly mirror: StoreMirror;
  readonly #store: TicketStore;
  readonly #clock: Clock;
  readonly #sessions: SessionKeeper;
  readonly #acquirer: Acquirer;
  readonly #tickets: OwnTickets;
  readonly #held = new Map<string, HeldLock>();
  readonly #requests = new Set<Promise<Lock>>();
  readonly #closing = new AbortController();

  constructor(options: LockManagerOptions) {
    const { store, clock = systemClock(), host, owner, ttlMs, keep } = options;
    this.#store = store;
    this.#clock = clock;
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
    this.#tickets = new OwnTickets({
      store,
      clock,
      sessions: this.#sessions,
      mirror: this.mirror,
      closing: this.#closing.signal,
      resumes: keep?.resume !== undefined,
    });
    this.#acquirer = new Acquirer({
      store,
      clock,
      host,
      sessions: this.#sessions,
      mirror: this.mirror,
      tickets: this.#tickets,
      closing: this.#closing.signal,
      grant: (ticket, session) => this.#hold(ticket, session),
    });
  }

  /**
   * Waits for all the locks and takes them in one step. Locks named twice are merged.
   * Rejects LockTimeoutError, LockCancelledError, LockContendedError (time-out 0),
   * StoreUnavailableError, LockLostError (the request was removed while it waited), RangeError, or
   * what `onWait` threw; nothing is then held and no ticket is left.
   */
  async lock(locks: readonly LockRequest[], options: LockOptions): Promise<Lock> {
    const request = this.#acquirer.acquire(mergeRequests(locks), options);
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

  #hold(ticket: Ticket, session: Session): Lock {
    this.#tickets.add(ticket);
    const lock = new HeldLock(ticket, session, this.#ownerOfHeld);
    this.#held.set(ticket.nonce, lock);
    log('granted %s token=%d', namesOf(ticket.locks).join('+'), ticket.token);
    return lock;
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
