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

  hasAny(): boolean {
    const { revision: _, ...lists } = this;
    return Object.values(lists).some((list) => list.length > 0);
  }
}
