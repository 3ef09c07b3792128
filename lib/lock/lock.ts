import type { ReadRecord, RecordNote, RecordWrite } from './stores/ticket-store.ts';
import type { Ticket } from './ticket.ts';

/** A held lock, from the grant to the loss or unlock. Not re-entrant; `await using` unlocks it. */
export interface Lock extends AsyncDisposable {
  readonly ticket: Ticket;
  /** The record that `LockOptions.read` names, as of the grant. */
  readonly read?: ReadRecord | undefined;
  /** The fencing token: larger for each later holder. */
  readonly token: number;
  /**
   * Aborts with a LockLostError when the lock is no longer held: at unlock, or before the store can
   * grant the lock to anybody else (as long as clocks run at roughly the same rate). A lost lock need
   * not be unlocked: others get it at the latest when the store is back. (A `KeptLock` needs its ticket.)
   */
  readonly signal: AbortSignal;
  /**
   * Milliseconds from now for which the lock is held although no renewal reaches the store; 0 once it is
   * lost or released, Infinity if the store's sessions don't expire and the hold has no limit.
   */
  readonly leftMs: number;
  /** Throws LockLostError when the lock is not held, or nobody can prove that it still is. */
  throwIfLost(): void;
  /** Asks the store, linearizably, whether the lock is still held; rejects LockLostError if not. */
  confirm(): Promise<void>;
  /**
   * Changes records if, and only if, the lock is still held; with `unlock`, releases the lock in
   * the same atomic step. Rejects LockLostError or RecordConflictError; nothing is then changed.
   *
   * Give each write the `expectedRevision` of its record if a hold makes more than one. A write
   * whose answer was lost is repeated, and its first attempt may still arrive, even after a later
   * write; without an expected revision it would undo that later write.
   */
  guard(writes: readonly RecordWrite[], options?: { readonly unlock?: boolean }): Promise<void>;
  /**
   * Releases the lock. Idempotent; never touches another's lock. While the store is away, `unlock`
   * resolves after two seconds and is retried in the background until the ticket is gone.
   */
  unlock(end?: Unlocking): Promise<void>;
}

/** The words of a holder at the end of its work. */
export interface Unlocking {
  /** The key of a claim (`LockOptions.claim`) that the step of the release deletes: the work has ended. */
  readonly claim?: string | undefined;
  /** A record that the step of the release writes, if the lock was still held. */
  readonly note?: RecordNote | undefined;
}
