import type { Gate, Ticket } from '../ticket.ts';
import type { StoreChange, StoredRecord } from './ticket-store.ts';

/** The changes that a transaction has made so far. */
export class Effects implements StoreChange {
  /** The revision of this transaction's changes: one more than the last. */
  readonly revision: number;
  readonly tickets: Ticket[] = [];
  readonly removedTickets: { readonly id: string; readonly nonce: string }[] = [];
  readonly records: StoredRecord[] = [];
  readonly removedRecords: string[] = [];
  readonly closedGates: Gate[] = [];
  readonly openedGates: string[] = [];

  constructor(revision: number) {
    this.revision = revision;
  }

  /** True if a record or a gate changes, which outlives the sessions of all tickets. */
  hasLasting(): boolean {
    const { records, removedRecords, closedGates, openedGates } = this;
    return [records, removedRecords, closedGates, openedGates].some((list) => list.length > 0);
  }

  hasAny(): boolean {
    const { revision: _, ...lists } = this;
    return Object.values(lists).some((list) => list.length > 0);
  }
}
