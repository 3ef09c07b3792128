import type { IKeyValue } from '../../../etcd/client.ts';
import type { Gate, Ticket } from '../../ticket.ts';
import type { StoreChange, StoredRecord, StoreState } from '../ticket-store.ts';
import type { EtcdKeys } from './keys.ts';
import { ForeignValueError } from './txn.ts';

/** A change of one key, as etcd's watch reports it. */
export interface KeyEvent {
  readonly type: string;
  readonly kv: IKeyValue;
}

/**
 * Turns what etcd reports of the keys below the prefix into changes of tickets, records and gates. It knows
 * up to which revision everything was reported, and drops what etcd reports a second time.
 */
export class FollowedKeys {
  readonly #keys: EtcdKeys;
  /** The keys with values that berth did not write: they are skipped. */
  readonly #foreign: Set<string>;
  /** The ticket under each key, because a delete event has only the key. */
  readonly #standing = new Map<string, Ticket>();
  #revision: number | undefined;
  #count = 0;

  constructor(keys: EtcdKeys, foreign: Set<string>) {
    this.#keys = keys;
    this.#foreign = foreign;
  }

  /** All changes up to this revision are known; undefined: nothing is known. */
  get revision(): number | undefined {
    return this.#revision;
  }

  /** The number of keys at the last `reset`. */
  get count(): number {
    return this.#count;
  }

  /** Nothing is known any more: the next state has to be read whole. */
  forget(): void {
    this.#revision = undefined;
  }

  /** Takes the whole state at a revision. */
  reset(revision: number, kvs: readonly IKeyValue[]): StoreState {
    this.#foreign.clear();
    this.#standing.clear();
    this.#count = kvs.length;
    const records: StoredRecord[] = [];
    const gates: Gate[] = [];
    const tickets = new Map<string, Ticket>();
    for (const kv of kvs) {
      const found = this.#read(kv.key.toString(), kv);
      if (!found) continue;
      if (found.ticket) tickets.set(found.ticket.nonce, found.ticket);
      else if (found.record) records.push(found.record);
      else if (found.gate) gates.push(found.gate);
    }
    this.#revision = revision;
    return {
      revision,
      tickets: [...tickets.values()].sort((a, b) => a.token - b.token),
      records,
      gates: gates.sort((a, b) => (a.lockName < b.lockName ? -1 : 1)),
    };
  }

  /** Takes events in their order; returns the changes, one for each revision that is new. */
  changes(events: readonly KeyEvent[]): StoreChange[] {
    const known = this.#revision ?? 0;
    const changes = new Map<number, MutableChange>();
    for (const event of events) {
      const revision = Number(event.kv.mod_revision);
      if (revision <= known) continue;
      const change = changes.get(revision) ?? emptyChange(revision);
      changes.set(revision, change);
      this.#apply(event, change);
    }
    return [...changes.values()].map(finished);
  }

  /** Records that the watcher has a change. */
  reported({ revision }: StoreChange): void {
    if (this.#revision !== undefined) this.#revision = revision;
  }

  #apply({ type, kv }: KeyEvent, change: MutableChange): void {
    const key = kv.key.toString();
    const before = this.#standing.get(key);
    const found = type === 'Put' ? this.#read(key, kv) : undefined;
    if (found?.ticket) {
      change.tickets.set(found.ticket.nonce, found.ticket);
    } else if (found?.record) {
      change.records.push(found.record);
    } else if (found?.gate) {
      change.closedGates.push(found.gate);
    } else if (before) {
      this.#standing.delete(key);
      change.removedTickets.set(before.nonce, before);
    }
    if (type === 'Put') return;
    this.#foreign.delete(key);
    if (this.#keys.isRecord(key)) change.removedRecords.push(this.#keys.parseRecord(kv).key);
    else if (this.#keys.isGate(key)) change.openedGates.push(this.#keys.gatedLock(key));
  }

  /** Reads a key with its value; undefined: it is none of berth's, or its value is not. */
  #read(key: string, kv: IKeyValue): Found | undefined {
    const keys = this.#keys;
    if (keys.isRecord(key)) return { record: keys.parseRecord(kv) };
    try {
      const gate = keys.isGate(key) ? keys.parseGate(kv) : undefined;
      const ticket = keys.isTicket(key) ? keys.parseTicket(kv) : undefined;
      this.#foreign.delete(key);
      if (ticket) this.#standing.set(key, ticket);
      return ticket ? { ticket } : gate && { gate };
    } catch (error) {
      if (!(error instanceof ForeignValueError)) throw error;
      this.#foreign.add(key);
      return undefined;
    }
  }
}

/** The content of a key: one of these. */
interface Found {
  readonly ticket?: Ticket;
  readonly record?: StoredRecord;
  readonly gate?: Gate;
}

interface MutableChange {
  readonly revision: number;
  readonly tickets: Map<string, Ticket>;
  readonly removedTickets: Map<string, Ticket>;
  readonly records: StoredRecord[];
  readonly removedRecords: string[];
  readonly closedGates: Gate[];
  readonly openedGates: string[];
}

function emptyChange(revision: number): MutableChange {
  return {
    revision,
    tickets: new Map(),
    removedTickets: new Map(),
    records: [],
    removedRecords: [],
    closedGates: [],
    openedGates: [],
  };
}

function finished(change: MutableChange): StoreChange {
  return {
    ...change,
    tickets: [...change.tickets.values()],
    removedTickets: [...change.removedTickets.values()].map(({ id, nonce }) => ({ id, nonce })),
  };
}
