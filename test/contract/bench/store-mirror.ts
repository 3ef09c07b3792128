import type {
  StoreChange,
  StoredRecord,
  StoreState,
  StoreWatcher,
} from '../../../lib/lock/stores/ticket-store.ts';
import type { Gate, Ticket } from '../../../lib/lock/ticket.ts';

/** Rebuilds a store's state from its reports to a watcher, and records every inconsistency. */
export class StoreMirror implements StoreWatcher {
  readonly faults: string[] = [];
  readonly events: ('reset' | 'change' | 'interrupted' | 'resumed')[] = [];
  revision = -1;
  #tickets = new Map<string, Ticket>();
  #records = new Map<string, StoredRecord>();
  #gates = new Map<string, Gate>();

  reset({ revision, tickets, records, gates }: StoreState): void {
    this.events.push('reset');
    if (revision < this.revision) this.faults.push(`reset back to ${revision}`);
    this.revision = revision;
    this.#tickets = new Map(tickets.map((ticket) => [ticket.nonce, ticket]));
    this.#records = new Map(records.map((record) => [record.key, record]));
    this.#gates = new Map(gates.map((gate) => [gate.lockName, gate]));
  }

  change(change: StoreChange): void {
    if (this.events.length === 0) this.faults.push('a change before the first reset');
    this.events.push('change');
    if (change.revision <= this.revision) this.faults.push(`${change.revision} is not new`);
    this.revision = change.revision;
    for (const { nonce, id } of change.removedTickets) {
      if (this.#tickets.get(nonce)?.id !== id) this.faults.push(`unknown ticket ${id} removed`);
      this.#tickets.delete(nonce);
    }
    for (const ticket of change.tickets) {
      if (this.#tickets.has(ticket.nonce)) this.faults.push(`ticket ${ticket.id} reported twice`);
      if (ticket.token !== change.revision) this.faults.push(`ticket ${ticket.id} reported late`);
      this.#tickets.set(ticket.nonce, ticket);
    }
    for (const key of change.removedRecords) {
      if (!this.#records.delete(key)) this.faults.push(`unknown record ${key} removed`);
    }
    for (const record of change.records) this.#records.set(record.key, record);
    for (const gate of change.closedGates) {
      if (this.#gates.has(gate.lockName)) this.faults.push(`gate ${gate.lockName} closed twice`);
      this.#gates.set(gate.lockName, gate);
    }
    for (const lockName of change.openedGates) {
      if (!this.#gates.delete(lockName)) this.faults.push(`open gate ${lockName} opened`);
    }
  }

  interrupted(): void {
    this.events.push('interrupted');
  }

  resumed(): void {
    if (this.events.findLast((event) => event !== 'change') !== 'interrupted') {
      this.faults.push('resumed without a break');
    }
    this.events.push('resumed');
  }

  get tickets(): readonly Ticket[] {
    return [...this.#tickets.values()].sort((a, b) => a.token - b.token);
  }

  get gates(): readonly Gate[] {
    return [...this.#gates.values()].sort((a, b) => (a.lockName < b.lockName ? -1 : 1));
  }

  get records(): readonly StoredRecord[] {
    return [...this.#records.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
  }
}
