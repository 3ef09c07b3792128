import type { Lock } from '../../lock.ts';
import type { LockOptions, TryLockOptions } from '../../locks.ts';
import type { LockRequest, Ticket } from '../../ticket.ts';
import type { NumberLease } from './lock-pool-leases.ts';

/** The limits of a change's wait for other changes; 10 s when left out. */
export type PoolChangeOptions = Pick<LockOptions, 'signal' | 'timeoutMs'>;

/** How numbers are freed. */
export interface FreeOptions extends PoolChangeOptions {
  /**
   * Frees leased numbers, too. Another may then get such a number before the signal of its lease aborts, so use it for
   * an owner that is known to have stopped using the number.
   */
  readonly force?: boolean;
}

/** How a number is allocated. */
export interface AllocateOptions extends PoolChangeOptions {
  /**
   * The number is allocated for as long as this process lives, like a lock: it is freed by `NumberLease.end`, and by the
   * end of this process or its host. Without it, a number stays allocated until it is freed.
   */
  readonly leased?: boolean;
}

/** A number that is leased to this process. */
export type LeasedNumber = NumberedLock & { readonly lease: NumberLease };

/** One lock of a pool. It works whether its number is allocated or not. */
export interface NumberedLock {
  readonly id: number;
  /**
   * The requests for `Locks.lock`, to take several numbered locks in one step without deadlock. Two
   * objects that share a number then request one lock, and don't wait for each other for ever.
   */
  readonly request: LockRequest;
  lock(options: LockOptions): Promise<Lock>;
  tryLock(options: TryLockOptions): Promise<Lock | undefined>;
}

/** A number whose lock is held. */
export interface HeldNumber {
  readonly id: number;
  readonly ticket: Ticket;
}
