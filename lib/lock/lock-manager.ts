import { randomUUID } from 'node:crypto';
import createDebug from 'debug';
import type { Clock } from '../running/clock.ts';
import { systemClock } from '../running/clock.ts';
import { checkClosing, checkKind, checkOptions } from './check-options.ts';
import type { Condition } from './condition.ts';
import { Acquirer } from './engine/acquirer.ts';
import { checkLockOptions, checkTryOptions } from './engine/check-request.ts';
import { checkLockName, checkText } from './engine/check-text.ts';
import { HeldLocks } from './engine/held-locks.ts';
import { isHostAlive } from './engine/host-alive.ts';
import { mergeRequests } from './engine/merge-requests.ts';
import { OwnTickets } from './engine/own-tickets.ts';
import { Reports } from './engine/reports.ts';
import { marginMs } from './engine/session.ts';
import { SessionPool } from './engine/session-pool.ts';
import { StoreMirror } from './engine/store-mirror.ts';
import { checkTtl } from './engine/wait-limit.ts';
import { HistoryChangedError, LockCancelledError, LockContendedError } from './errors.ts';
import type { HistoryChange } from './history.ts';
import type { Lock } from './lock.ts';
import type { LockOptions, Locks, TryLockOptions, WorkUnderLock } from './locks.ts';
import type { LockManagerOptions } from './manager-options.ts';
import { managerOptions } from './manager-options.ts';
import type { StoredRecord, TicketStore } from './stores/ticket-store.ts';
import type { Gate, LockNames, Ticket } from './ticket.ts';

const log = createDebug('berth:lock');

/**
 * Distributed locks over a TicketStore. Requests are granted first come, first served. A request
 * acquires all its locks in one atomic step, so callers need not sort the locks, and two requests
 * can't deadlock. A caller that holds one lock while it requests another still can.
 *
 * The path of one request, `lock([mount/db])`:
 *
 *     lock()          merge the locks, check the options        merge-requests, reports
 *       │
 *     Acquirer        a session that has not lapsed             SessionPool: open, renew
 *       │             a nonce, known before it is written       OwnTickets.add
 *       │
 *     store.enqueue   one atomic step ────────────────► granted ──────────────┐
 *       │             waiting, behind blockers                                │
 *     WakeUps         sleep until the mirror sees a blocker go                │
 *       │             (or a gate close, or the session end)                   │
 *     mirror-proof    nothing is in the way any more ─► granted ──────────────┤
 *       │             the mirror is no proof                                  │
 *     store.place     ask the store again ────────────► granted ──────────────┤
 *       │                                                                     │
 *       └─ timed out, cancelled, disabled: OwnTickets.remove, reject          │
 *                                                                             ▼
 *     HeldLock        valid while the session's deadline has not passed  HeldLocks.hold
 *       │             and the mirror still has the ticket
 *       ├─ guard()    store.commit: only if the ticket still exists
 *       └─ unlock()   OwnTickets.remove, retried until the store confirms
 *
 * `StoreMirror` follows the store by one watch and serves all waiters, holders and readers. A lost
 * answer leaves no ticket behind: every write is repeated until its outcome is known, and a ticket
 * that nobody here knows is a stray, which `OwnTickets` removes.
 */
export class LockManager implements Locks {
  readonly mirror: StoreMirror;
  readonly #store: TicketStore;
  readonly #clock: Clock;
  readonly #host: string;
  readonly #reason: string;
  readonly #sessions: SessionPool;
  readonly #acquirer: Acquirer;
  readonly #tickets: OwnTickets;
  readonly #held: HeldLocks;
  readonly #reports: Reports;
  readonly #requests = new Set<Promise<Lock>>();
  readonly #closing = new AbortController();

  constructor(options: LockManagerOptions) {
    checkOptions('a lock manager', options, managerOptions);
    const { store, clock = systemClock(), host, owner, ttlMs, keep, tracer, observer } = options;
    if (store.properties.sessionsExpire) checkTtl("a lock manager's TTL", ttlMs, 1_000);
    this.#store = store;
    this.#clock = clock;
    this.#host = host;
    this.#reason = options.reason ?? 'Lock';
    const reports = new Reports({ clock, tracer, observer });
    this.#reports = reports;
    const sessions = new SessionPool({
      store,
      clock,
      ttlMs,
      owner,
      reports,
      ...(keep && { keep }),
    });
    this.#sessions = sessions;
    const mirror = new StoreMirror(store);
    this.mirror = mirror;
    mirror.onHistoryChanged((change) => sessions.historyChanged(new HistoryChangedError(change)));
    const closing = this.#closing.signal;
    const resumes = keep?.resume !== undefined;
    const tickets = new OwnTickets({ store, clock, sessions, mirror, closing, resumes });
    this.#tickets = tickets;
    this.#held = new HeldLocks({ store, clock, mirror, tickets, reports, closing });
    this.#acquirer = new Acquirer({
      store,
      clock,
      host,
      owner,
      sessions,
      mirror,
      tickets,
      closing,
      newNonce: options.newNonce ?? randomUUID,
      grant: (grant, session, { maxHoldMs }) => this.#held.hold(grant, session, maxHoldMs),
    });
  }

  async lock(locks: LockNames, options: LockOptions = {}): Promise<Lock> {
    checkLockOptions(options);
    const requests = mergeRequests(locks);
    const stated = { ...options, reason: options.reason ?? this.#reason };
    const request = this.#reports.request(requests, stated, (reported) =>
      this.#acquirer.acquire(requests, reported),
    );
    this.#requests.add(request);
    try {
      return await request;
    } finally {
      this.#requests.delete(request);
    }
  }

  async tryLock(locks: LockNames, options: TryLockOptions = {}): Promise<Lock | undefined> {
    checkTryOptions(options);
    try {
      return await this.lock(locks, { ...options, timeoutMs: 0 });
    } catch (error) {
      if (error instanceof LockContendedError) return undefined;
      throw error;
    }
  }

  async withLock<T>(locks: LockNames, ...given: WorkUnderLock<T>): Promise<T> {
    const [options, work] = given.length === 1 ? [{}, given[0]] : given;
    checkKind('the work under a lock', work, 'a function');
    await using lock = await this.lock(locks, options);
    return await work(lock);
  }

  async attach(ticket: Ticket): Promise<Lock | undefined> {
    if (this.#sessions.hasEnded(ticket.session)) return undefined;
    const session = await this.#sessions.find(ticket.session);
    if (session.id !== ticket.session) return undefined;
    if (!(await this.#tickets.stands(ticket))) return undefined;
    session.throwIfLapsed();
    return this.#held.hold({ ticket }, session);
  }

  /** Lets `attach` take this lock back after a lapse: its ticket stands until the lock is unlocked. */
  keepThroughLapse(lock: Lock): void {
    this.#held.keepThroughLapse(lock);
  }

  async disable(lockName: string, options: { readonly why?: string } = {}): Promise<void> {
    checkLockName(lockName);
    checkOptions('the disabling of a lock', options, { why: 'a text' });
    const { why } = options;
    const since = this.#clock.date().toISOString();
    const gate = { lockName, host: this.#host, since };
    await this.#store.closeGate(why === undefined ? gate : { ...gate, why });
    log('disabled %s', lockName);
  }

  async enable(lockName: string): Promise<void> {
    checkLockName(lockName);
    await this.#store.openGate(lockName);
    log('enabled %s', lockName);
  }

  async gates(): Promise<readonly Gate[]> {
    return this.#store.gates();
  }

  async inspect(lockName: string): Promise<readonly Ticket[]> {
    checkText('the name of a lock', lockName);
    return this.#store.tickets(lockName);
  }

  async list(): Promise<readonly Ticket[]> {
    return this.#store.tickets();
  }

  async record(key: string): Promise<StoredRecord | undefined> {
    checkText('the key of a record', key);
    return this.#store.record(key);
  }

  async breakLock(ticket: Ticket): Promise<void> {
    log('broken %s token=%d', ticket.locks.map(({ name }) => name).join('+'), ticket.token);
    await this.#store.remove(ticket);
  }

  async health(): Promise<readonly Condition[]> {
    const conditions: Condition[] = [...(await this.#store.health())];
    if (this.#sessions.sessions().some(({ isLapsed, isGone }) => isLapsed && !isGone)) {
      const message =
        "the store has not confirmed this host's session in time, so another host may get its locks";
      conditions.push({ severity: 'error', message });
    }
    if (!this.mirror.isLive) {
      const message = 'the watch on the store is broken, so waiting requests may wait longer';
      conditions.push({ severity: 'warning', message });
    }
    const { unconfirmed } = this.#tickets;
    if (unconfirmed > 0) {
      const message = `the store has not confirmed the release of ${unconfirmed} lock(s) yet`;
      conditions.push({ severity: 'warning', message });
    }
    return conditions;
  }

  /**
   * Opens the session now instead of at the first lock. `resumed`: it is an earlier process's
   * session, whose tickets are kept until `dropStrays`.
   */
  async open(): Promise<{ readonly sessionId: string; readonly resumed: boolean }> {
    const { id, resumed } = await this.#sessions.get();
    if (!resumed) this.#tickets.ownSession();
    return { sessionId: id, resumed };
  }

  /**
   * Removes every ticket of this session and of the permanent one that this process does not know,
   * now and from now on, whichever process has left it.
   */
  dropStrays(): Promise<void> {
    return this.#tickets.dropStrays();
  }

  /**
   * Calls `listener` at each renewal of a session of this host, and when the store has ended one.
   * After a lapse, `attach` then shows which locks are left.
   */
  onSessionHeard(listener: () => void): Disposable {
    return this.#sessions.onSessionHeard(listener);
  }

  /**
   * Milliseconds from now during which the store can't grant this host's locks to another: until
   * the deadline of the main session. Infinity if the store's sessions don't expire; 0 if there is
   * no session, or it has lapsed or is gone. Still correct after `close`.
   */
  get leftMs(): number {
    const { main } = this.#sessions;
    if (!main || main.isGone) return 0;
    return Math.max(0, main.deadline - this.#clock.now());
  }

  /** Milliseconds from that deadline to the earliest end of the TTL. */
  get marginMs(): number {
    const { main } = this.#sessions;
    return main ? marginMs(main.ttlMs) : 0;
  }

  /** Calls `listener` when the main session lapses or is gone, or at once if it already has. */
  onLapsed(listener: (reason?: unknown) => void): Disposable {
    const { main } = this.#sessions;
    if (!main || main.isLapsed || main.isGone) {
      listener(main?.sessionPeriod.reason);
      return { [Symbol.dispose]: () => {} };
    }
    main.addHolder(listener);
    return { [Symbol.dispose]: () => main.removeHolder(listener) };
  }

  /** Calls `listener` when the store has another history, after all sessions have lapsed by it. */
  onHistoryChanged(listener: (change: HistoryChange) => void): Disposable {
    return this.mirror.onHistoryChanged(listener);
  }

  /** The ID of the store's history; undefined before its first answer, or if it keeps none. */
  get historyId(): string | undefined {
    return this.#store.historyId;
  }

  /**
   * True if the owner of a ticket has renewed a session lately. A permanent ticket proves no
   * liveness; another ticket of the same owner does, so each host should always hold a lock.
   */
  async isAlive(ticket: Ticket): Promise<boolean> {
    return isHostAlive(this.#store, ticket);
  }

  /**
   * Cancels waiting requests, and releases all locks and sessions. `keep`: leaves the main session,
   * the permanent one, and the tickets of held locks to the next process.
   */
  async close(options: { readonly keep?: boolean } = {}): Promise<void> {
    checkClosing(options);
    const { keep = false } = options;
    this.#closing.abort(new LockCancelledError('berth is stopping'));
    await Promise.allSettled(this.#requests);
    if (!keep) await this.#held.unlockAll();
    await this.#tickets.settled();
    this.mirror[Symbol.dispose]();
    await this.#sessions.close({ keep });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
