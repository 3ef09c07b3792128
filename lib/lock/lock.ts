import type { ReadRecord, RecordWrite } from './stores/ticket-store.ts';
import type { Ticket } from './ticket.ts';

/**
 * A lock that is held: it exists only from grant to loss or unlock. Not re-entrant.
 * `await using` unlocks it.
 */
export interface Lock extends AsyncDisposable {
  readonly ticket: Ticket;
  /** The record that the options asked to read, as of the grant. */
  readonly read?: ReadRecord | undefined;
  /** The fencing token: larger for each later holder. */
  readonly token: number;
  /**
   * Aborts when the lock is no longer held: with a LockLostError before the store can grant it to
   * anybody else (as long as clocks run at roughly the same rate), or at unlock.
   */
  readonly signal: AbortSignal;
  /** Throws LockLostError when the lock is not held, or can no longer be proved to be. */
  throwIfLost(): void;
  /** Asks the store, linearizably, whether the lock is still held; rejects LockLostError if not. */
  confirm(): Promise<void>;
  /**
   * Changes records if, and only if, the lock is still held; with `unlock`, releases it in the
   * same atomic step. Rejects LockLostError or RecordConflictError; nothing is then changed.
   *
   * Give each write the `expectedRevision` of its record when more than one is made under one hold.
   * A write whose answer was lost is repeated, and the first attempt may arrive after all, even
   * after a later write; without an expectation it would undo that one.
   */
  guard(writes: readonly RecordWrite[], options?: { readonly unlock?: boolean }): Promise<void>;
  /**
   * Releases the lock. Idempotent, and never touches anybody else's. When the store is away it
   * resolves after a short while and goes on trying in the background until the ticket is gone.
   */
  unlock(): Promise<void>;
}
