import type { Condition } from './condition.ts';
import type { Lock } from './lock.ts';
import type { StoredRecord } from './stores/ticket-store.ts';
import type { Gate, LockNames, Ticket } from './ticket.ts';

/**
 * Distributed locks, as their users see them. `LockManager` implements them over a store;
 * `noopLocks` grants everything.
 */
export interface Locks extends AsyncDisposable {
  /**
   * Waits for all the locks and acquires them in one step. A name alone is an exclusive lock, one with
   * `permits` one of so many permits. Locks named twice are merged; exclusive wins over shared.
   * Rejects LockTimeoutError, LockCancelledError, LockContendedError (time-out 0),
   * LockDisabledError (also when a gate is closed while the request waits), StoreUnavailableError,
   * LockLostError (the ticket was removed while the request waited), LockUnsupportedError,
   * PermitsDifferError (others say another number of permits for the lock),
   * RangeError, or the error of `onWait`; nothing is then held and no ticket is left.
   */
  lock(locks: LockNames, options?: LockOptions): Promise<Lock>;

  /** Tries once: undefined if another is in the way. Otherwise as `lock`. */
  tryLock(locks: LockNames, options?: TryLockOptions): Promise<Lock | undefined>;

  /** Runs `work` under the locks, then releases them, also when it fails. Rejects as `lock`. */
  withLock<T>(locks: LockNames, ...options: WorkUnderLock<T>): Promise<T>;

  /**
   * Takes back a lock whose ticket was granted to this host before: to an earlier process whose session
   * this one has resumed, or after a lapse, if the ticket still stands. Undefined if it is gone.
   * `maxHoldMs` no longer limits the lock.
   */
  attach(ticket: Ticket): Promise<Lock | undefined>;

  /**
   * Closes the gate of a lock, durably: the store grants it to nobody, waiting requests are
   * rejected, and holders keep the lock. Idempotent: the first who closed it stays on record.
   */
  disable(lockName: string, options?: { readonly why?: string }): Promise<void>;

  /** Opens the gate of a lock. Idempotent. */
  enable(lockName: string): Promise<void>;

  /** Reads the closed gates from the store, by lock name. */
  gates(): Promise<readonly Gate[]>;

  /** Reads all tickets on one lock from the store: holders first, then waiters in order. */
  inspect(lockName: string): Promise<readonly Ticket[]>;

  /** Reads all tickets on all locks from the store, in token order. */
  list(): Promise<readonly Ticket[]>;

  /** Reads one record from the store. `Lock.guard` changes records. */
  record(key: string): Promise<StoredRecord | undefined>;

  /** Removes any ticket, also another host's. Its holder learns of it by the watch. Idempotent. */
  breakLock(ticket: Ticket): Promise<void>;

  /** Returns present and expected faults, for people; empty if there is none. Never rejects. */
  health(): Promise<readonly Condition[]>;
}

export interface LockOptions {
  /** The purpose of the lock, for programs, e.g. `mount`; `other` when left out. */
  readonly kind?: string;
  /** Why the lock is taken, for people, e.g. `Mount`; the manager's reason when left out. */
  readonly reason?: string;
  /** The holder's name, for people; the manager's host when left out. */
  readonly holder?: string;
  readonly detail?: string;
  readonly signal?: AbortSignal;
  /** 0: one try. Undefined or Infinity: wait for ever. */
  readonly timeoutMs?: number;
  /**
   * How long the store keeps the lock of a holder that does not renew; the manager's TTL when left
   * out. Requests with one TTL share a session, so use few different TTLs: nine at a time. In steps of a second.
   *
   * Infinity: the lock outlives its host. The store grants it to nobody else until somebody breaks
   * it, or this process, or a later one of the same owner that has attached it, unlocks it. Such a
   * lock does not lapse while the store is away. It needs a manager with `keep`. On a store for one
   * host, whose locks have no TTL, it is a lock like any other.
   */
  readonly ttlMs?: number;
  /**
   * The longest hold: after it, the lock's signal aborts with a LockLostError and the lock is
   * released, whether the work is done or not. A holder that is frozen at that moment keeps the
   * lock for one more TTL. A lock that was lost before is released too, and can't be attached.
   * Undefined or Infinity: no limit.
   */
  readonly maxHoldMs?: number;
  /**
   * The key of a record that shows later whether another has requested the lock since: the step
   * that queues the ticket sets the record to the ticket's nonce. Costs no further write.
   */
  readonly mark?: string;
  /**
   * A record that outlives the ticket: the step that queues the ticket writes `value` to the key
   * `prefix` with the ticket's nonce appended. Only `unlock` with `claim`, or a request that gives
   * up, deletes it. So a claim that stands without its ticket shows a holder that has not said that
   * its work under the lock ended. A host that dies while it waits leaves its claim, too. Costs no
   * further write.
   */
  readonly claim?: { readonly prefix: string; readonly value: string };
  /**
   * The key of a record to read as of the grant, for the lock's `read`. Costs no further call if the
   * lock is granted at once; a request that waits reads the record after its grant.
   */
  readonly read?: string;
  /** With `read`: the prefix of the keys of further records to read as of the grant. */
  readonly readBelow?: string;
  /** The work under the lock frees space in the store: a store that is full still grants it. */
  readonly freesSpace?: boolean;
  /** See `TicketRequest`. */
  readonly proof?: number | undefined;
  /**
   * Called when the request has to wait, with the nearest tickets in its way, and each time that
   * these change; throw, or return a promise that rejects, to give up.
   */
  readonly onWait?: (blockers: readonly Ticket[]) => unknown;
}

/** The work to run under a lock, after the options of the request, if there are any. */
export type WorkUnderLock<T> =
  | readonly [work: (lock: Lock) => Promise<T>]
  | readonly [options: LockOptions, work: (lock: Lock) => Promise<T>];

/** The options of a request with what a ticket needs. */
export type StatedOptions = LockOptions & { readonly reason: string };

export type TryLockOptions = Omit<LockOptions, 'timeoutMs' | 'onWait'>;
