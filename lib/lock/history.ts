/**
 * **History**: the past of a store. A store that was restored from a backup, put back from a copy, or
 * wiped has another history than before: tickets, records and tokens that were granted meanwhile are
 * not in it. Locks are only as true as the history in which they were granted.
 *
 * What follows a change, on every host:
 *
 *     noticed ──► all sessions lapse: every lock is unproven at once
 *        │
 *     quarantine  for one TTL the store grants nothing, except to a host with a proof
 *        │
 *     prove       a holder whose ticket stands keeps its lock; one whose ticket is missing puts it
 *                 back, if it held the lock when it noticed the change (its proof)
 *        │
 *     a lock that was unproven before the change is lost: another host may have had it in the past
 *     that is gone
 *
 * The quarantine is as long as the longest TTL, so a host that is cut off has stopped by its own
 * deadline before anybody else is granted its locks.
 */
export interface HistoryChange {
  /** Counts the changes that this process has noticed, from 1. */
  readonly number: number;
  /** The cause, in words for a person. */
  readonly why: string;
  /**
   * The store of one host refuses what it has found, until a person accepts it. Locks stay held
   * meanwhile, because nobody else is granted any.
   */
  readonly isRefused?: boolean;
}
