import type { Condition } from './condition.ts';
import type { Lock } from './lock.ts';
import type { StoredRecord } from './stores/ticket-store.ts';
import type { Gate, LockRequest, Ticket } from './ticket.ts';

/**
 * Distributed locks, as their users see them. `LockManager` gives them over a store; `noopLocks`
 * grants everything.
 */
export interface Locks extends AsyncDisposable {
  /**
   * Waits for all the locks and takes them in one step. Locks named twice are merged, exclusive
   * winning over shared.
   * Rejects LockTimeoutError, LockCancelledError, LockContendedError (time-out 0),
   * LockDisabledError (also when a gate is closed while it waits), StoreUnavailableError,
   * LockLostError (the request was removed while it waited), LockUnsupportedError, RangeError, or
   * what `onWait` threw; nothing is then held and no ticket is left.
   */
  lock(locks: readonly LockRequest[], options: LockOptions): Promise<Lock>;

  /** One try: undefined when somebody else is in the way. Otherwise as `lock`. */
  tryLock(locks: readonly LockRequest[], options: TryLockOptions): Promise<Lock | undefined>;

  /** Runs `work` under the locks; they are released after, however it ends. Rejects as `lock`. */
  withLock<T>(
    locks: readonly LockRequest[],
    options: LockOptions,
    work: (lock: Lock) => Promise<T>,
  ): Promise<T>;

  /**
   * Takes back a lock whose ticket was granted to this host before: after a lapse, or by an
   * earlier process whose session was resumed. Undefined when the ticket is gone. It has no longest
   * hold any more.
   */
  attach(ticket: Ticket): Promise<Lock | undefined>;

  /**
   * Closes the gate of a lock, durably: nobody is granted it any more, requests that wait for it
   * are told so, and whoever holds it goes on. Idempotent: the first to close it stays its closer.
   */
  disable(lockName: string, options?: { readonly why?: string }): Promise<void>;

  /** Opens the gate of a lock. Idempotent. */
  enable(lockName: string): Promise<void>;

  /** The closed gates, by lock name, as the store has them now. */
  gates(): Promise<readonly Gate[]>;

  /** All tickets on one lock, as the store has them now: holders first, then waiters in order. */
  inspect(lockName: string): Promise<readonly Ticket[]>;

  /** All tickets on all locks, as the store has them now, in token order. */
  list(): Promise<readonly Ticket[]>;

  /** One record, as the store has it now. Records are changed by `Lock.guard`. */
  record(key: string): Promise<StoredRecord | undefined>;

  /** Removes anybody's ticket. Its holder is told as soon as it hears of it. Idempotent. */
  breakLock(ticket: Ticket): Promise<void>;

  /** What is wrong, or soon will be, in words for a person; empty when nothing is. Never rejects. */
  health(): Promise<readonly Condition[]>;
}

export interface LockOptions {
  /** What the lock is for, as programs tell uses apart, e.g. `mount`; `other` when left out. */
  readonly kind?: string;
  /** Why the lock is taken, for people, e.g. `Mount`. */
  readonly reason: string;
  /** Who takes it, for people; the manager's host when left out. */
  readonly holder?: string;
  readonly detail?: string;
  readonly signal?: AbortSignal;
  /** 0: one try. Undefined: wait for ever. */
  readonly timeoutMs?: number;
  /**
   * How long the store keeps the lock of a holder that it does not hear of; the manager's TTL when
   * left out. Requests of one TTL share a session, so use few different ones. In steps of a second.
   *
   * Infinity: the lock outlives its host. Nobody else is granted it until it is unlocked, by this
   * process or by a later one of the same owner that has attached it, or broken. It does not lapse
   * while the store is away. Needs a manager with `keep`. On a store for one host, whose
   * locks have no TTL, it is a lock like any other.
   */
  readonly ttlMs?: number;
  /**
   * The longest it may be held: then its signal aborts with a LockLostError and it is released,
   * whether the work is done or not. A holder that is frozen at that moment keeps it for a TTL
   * more. One that is lost before is released, and can't be taken back. Undefined: until it is
   * unlocked.
   */
  readonly maxHoldMs?: number;
  /**
   * The key of a record that tells afterwards whether anybody has asked since: it gets a value of
   * this request's own (the ticket's nonce) in the step that queues it. Costs no further write.
   */
  readonly mark?: string;
  /**
   * The key of a record to read for the grant; the lock's `read` tells it. Costs no further call when
   * the lock is granted at once. A request that has to wait reads the record when it is granted, so
   * the record is as of the grant in both cases.
   */
  readonly read?: string;
  /** The work under the lock frees space in the store: a store that is full still grants it. */
  readonly freesSpace?: boolean;
  /**
   * Called when the request has to wait, with who is nearest in the way, and again each time that
   * changes; throw to give up.
   */
  readonly onWait?: (blockers: readonly Ticket[]) => void;
}

export type TryLockOptions = Omit<LockOptions, 'timeoutMs' | 'onWait'>;
