import { inTheWayOf } from '../conflicts.ts';
import type { HistoryChange } from '../history.ts';
import type {
  StoreChange,
  StoredRecord,
  StoreHistoryName,
  StoreState,
  StoreWatcher,
  TicketStore,
} from '../stores/ticket-store.ts';
import { noChange } from '../stores/ticket-store.ts';
import type { Gate, Ticket } from '../ticket.ts';

/** An event of the mirror, for its listeners. */
export type MirrorEvent =
  | { readonly kind: 'change'; readonly change: StoreChange }
  /** The mirror has read the whole state again: anything may have changed. */
  | { readonly kind: 'reset' }
  /** The watch on the store broke. */
  | { readonly kind: 'interrupted' }
  /** The watch works again, and every change since the break has been reported. */
  | { readonly kind: 'resumed' };

/**
 * The store's tickets, records and gates as this process last saw them. One watch serves all
 * waiters and all reads. The mirror may lag; a caller that must be sure asks the store.
 */
export class StoreMirror implements StoreWatcher, Disposable {
  readonly #tickets = new Map<string, Ticket>();
  readonly #ticketsByLock = new Map<string, Set<Ticket>>();
  readonly #records = new Map<string, StoredRecord>();
  readonly #gates = new Map<string, Gate>();
  /** Own writes that the watch has not reported yet; older changes of these keys are ignored. */
  readonly #written = new Map<string, number>();
  readonly #listeners = new Set<(event: MirrorEvent) => void>();
  readonly #historyListeners = new Set<(change: HistoryChange) => void>();
  readonly #watch: Disposable;
  readonly #firstReset = Promise.withResolvers<void>();
  #revision = 0;
  #isLive = false;
  #hasBeenLive = false;
  #lastHistoryChange: HistoryChange | undefined;
  #history: StoreHistoryName | undefined;

  constructor(store: TicketStore) {
    this.#watch = store.watch(this);
  }

  /** The mirror knows all changes up to this revision of the store. */
  get revision(): number {
    return this.#revision;
  }

  /** The watch works. While it is broken, the mirror may be out of date. */
  get isLive(): boolean {
    return this.#isLive;
  }

  /** Resolves when the mirror has read the state for the first time. */
  get firstReset(): Promise<void> {
    return this.#firstReset.promise;
  }

  /** The mirror has read the state at least once. */
  get hasBeenLive(): boolean {
    return this.#hasBeenLive;
  }

  ticket(nonce: string): Ticket | undefined {
    return this.#tickets.get(nonce);
  }

  /** Returns all tickets in token order. */
  tickets(): Ticket[] {
    return [...this.#tickets.values()].sort((a, b) => a.token - b.token);
  }

  /** Returns the tickets on one lock in token order: holders first. */
  ticketsOn(lockName: string): Ticket[] {
    return [...(this.#ticketsByLock.get(lockName) ?? [])].sort((a, b) => a.token - b.token);
  }

  /** True if the ticket stands, the gates of its locks are open, and no ticket before it is in its way. */
  isFirst(ticket: Ticket): boolean {
    if (this.#tickets.get(ticket.nonce)?.token !== ticket.token) return false;
    return ticket.locks.every((lock) => {
      if (this.#gates.has(lock.name)) return false;
      const onLock = [...(this.#ticketsByLock.get(lock.name) ?? [])];
      const earlier = onLock.filter(({ token }) => token < ticket.token);
      return inTheWayOf(lock, earlier).length === 0;
    });
  }

  record(key: string): StoredRecord | undefined {
    return this.#records.get(key);
  }

  records(): IterableIterator<StoredRecord> {
    return this.#records.values();
  }

  /** Returns the gate of a lock if it is closed. */
  gate(lockName: string): Gate | undefined {
    return this.#gates.get(lockName);
  }

  gates(): IterableIterator<Gate> {
    return this.#gates.values();
  }

  /** Calls `listener` after each event, until disposed. */
  listen(listener: (event: MirrorEvent) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  /** The history of which the mirror has read the state; undefined: none yet, or the store keeps none. */
  get history(): StoreHistoryName | undefined {
    return this.#history;
  }

  /** The last change of the store's history that was noticed. */
  get lastHistoryChange(): HistoryChange | undefined {
    return this.#lastHistoryChange;
  }

  /** Calls `listener` within the call that notices another history of the store, until disposed. */
  onHistoryChanged(listener: (change: HistoryChange) => void): Disposable {
    this.#historyListeners.add(listener);
    return { [Symbol.dispose]: () => this.#historyListeners.delete(listener) };
  }

  /** Applies this process's own commit at once, without waiting for the watch. */
  wrote(revision: number, writes: readonly { key: string; value: string | undefined }[]): void {
    if (revision <= this.#revision) return; // The watch has already reported it.
    const records: StoredRecord[] = [];
    const removedRecords: string[] = [];
    for (const { key, value } of writes) {
      this.#written.set(key, revision);
      if (value === undefined) removedRecords.push(key);
      else records.push({ key, value, revision });
    }
    this.#apply({ ...noChange(revision), records, removedRecords });
  }

  reset({ revision, tickets, records, gates, history }: StoreState): void {
    const kept = [...this.#written].filter(([, at]) => at > revision);
    this.#written.clear();
    const own = kept.map(([key, at]) => ({ key, at, record: this.#records.get(key) }));
    this.#tickets.clear();
    this.#ticketsByLock.clear();
    this.#records.clear();
    for (const ticket of tickets) this.#addTicket(ticket);
    for (const record of records) this.#records.set(record.key, record);
    this.#gates.clear();
    for (const gate of gates) this.#gates.set(gate.lockName, gate);
    for (const { key, at, record } of own) {
      this.#written.set(key, at);
      if (record) this.#records.set(key, record);
      else this.#records.delete(key);
    }
    this.#revision = revision;
    this.#history = history;
    this.#isLive = true;
    this.#hasBeenLive = true;
    this.#firstReset.resolve();
    this.#tell({ kind: 'reset' });
  }

  change(change: StoreChange): void {
    this.#revision = change.revision;
    const isNews = (key: string) => (this.#written.get(key) ?? 0) <= change.revision;
    this.#apply({
      ...change,
      records: change.records.filter(({ key }) => isNews(key)),
      removedRecords: change.removedRecords.filter(isNews),
    });
    for (const [key, at] of this.#written) if (at <= change.revision) this.#written.delete(key);
  }

  interrupted(): void {
    this.#isLive = false;
    this.#tell({ kind: 'interrupted' });
  }

  resumed(): void {
    this.#isLive = true;
    this.#tell({ kind: 'resumed' });
  }

  historyChanged(change: HistoryChange): void {
    this.#lastHistoryChange = change;
    this.#written.clear(); // What was written is not in this history.
    this.#revision = 0; // A lock of the new history may have a lower token than the mirror has seen.
    this.interrupted();
    for (const listener of [...this.#historyListeners]) listener(change);
  }

  [Symbol.dispose](): void {
    this.#watch[Symbol.dispose]();
    this.#listeners.clear();
    this.#historyListeners.clear();
  }

  #apply(change: StoreChange): void {
    for (const { nonce } of change.removedTickets) this.#removeTicket(nonce);
    for (const ticket of change.tickets) this.#addTicket(ticket);
    for (const key of change.removedRecords) this.#records.delete(key);
    for (const record of change.records) this.#records.set(record.key, record);
    for (const gate of change.closedGates) this.#gates.set(gate.lockName, gate);
    for (const lockName of change.openedGates) this.#gates.delete(lockName);
    this.#tell({ kind: 'change', change });
  }

  #addTicket(ticket: Ticket): void {
    this.#removeTicket(ticket.nonce);
    this.#tickets.set(ticket.nonce, ticket);
    for (const { name } of ticket.locks) {
      const onLock = this.#ticketsByLock.get(name) ?? new Set();
      onLock.add(ticket);
      this.#ticketsByLock.set(name, onLock);
    }
  }

  #removeTicket(nonce: string): void {
    const ticket = this.#tickets.get(nonce);
    if (!ticket) return;
    this.#tickets.delete(nonce);
    for (const { name } of ticket.locks) {
      const onLock = this.#ticketsByLock.get(name);
      onLock?.delete(ticket);
      if (onLock?.size === 0) this.#ticketsByLock.delete(name);
    }
  }

  #tell(event: MirrorEvent): void {
    for (const listener of [...this.#listeners]) listener(event);
  }
}
