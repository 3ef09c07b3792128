import { conflicts } from '../conflicts.ts';
import { PermitsDifferError, SessionGoneError } from '../errors.ts';
import type { Gate, LockRequest, Ticket, TicketRequest } from '../ticket.ts';
import { recordsOf, storedPart } from '../ticket.ts';
import { judgeChange } from './guarded-change.ts';
import type {
  Committed,
  Disabled,
  Granted,
  GuardedChange,
  Placement,
  RecordNote,
  Refused,
  StoreChange,
  StoredRecord,
  StoreState,
  Waiting,
} from './ticket-store.ts';
import { noChange } from './ticket-store.ts';

/** The whole state of a store. */
export interface ModelState extends StoreState {
  /** The ids of the live sessions. */
  readonly sessions: readonly string[];
}

interface Queued {
  readonly ticket: Ticket;
  readonly lock: LockRequest;
}

/**
 * The state of a store and the effect of each step: the simplest statement of the port's meaning.
 * The model has no time, no storage and no concurrency. A step that throws has changed nothing.
 */
export class TicketModel {
  readonly #onChange: (change: StoreChange) => void;
  readonly #sessions: Set<string>;
  /** Tickets by nonce, in token order. */
  readonly #tickets = new Map<string, Ticket>();
  /** Queues by lock name, each in token order. */
  readonly #queues = new Map<string, Queued[]>();
  readonly #records: Map<string, StoredRecord>;
  readonly #gates: Map<string, Gate>;
  #revision: number;

  /** Calls `onChange` within the step, for each change. */
  constructor(onChange: (change: StoreChange) => void, start: ModelState = emptyState) {
    this.#onChange = onChange;
    this.#revision = start.revision;
    this.#sessions = new Set(start.sessions);
    for (const ticket of start.tickets) this.#add(ticket);
    this.#records = new Map(start.records.map((record) => [record.key, record]));
    this.#gates = new Map(start.gates.map((gate) => [gate.lockName, gate]));
  }

  state(): ModelState {
    return {
      revision: this.#revision,
      sessions: [...this.#sessions],
      tickets: this.tickets(),
      records: [...this.#records.values()],
      gates: this.gates(),
    };
  }

  addSession(id: string): void {
    this.#sessions.add(id);
  }

  hasSession(id: string): boolean {
    return this.#sessions.has(id);
  }

  /** Ends a session and removes its tickets; false if it had ended before. */
  dropSession(id: string): boolean {
    if (!this.#sessions.delete(id)) return false;
    this.#removeTickets([...this.#tickets.values()].filter(({ session }) => session === id));
    return true;
  }

  enqueue(request: TicketRequest): Granted | Waiting | Disabled {
    this.#checkSession(request.session);
    const disabled = this.#disabled(request.locks);
    if (disabled) return disabled;
    const written = this.#tickets.get(request.nonce);
    if (!written) this.#checkPermits(request.locks);
    const ticket = written ?? this.#write(request);
    const placement = this.#placement(ticket);
    return placement.state === 'granted' ? this.#granted(ticket, request) : placement;
  }

  tryEnqueue(request: TicketRequest): Granted | Refused | Disabled {
    this.#checkSession(request.session);
    const disabled = this.#disabled(request.locks);
    if (disabled) return disabled;
    const written = this.#tickets.get(request.nonce);
    if (!written) this.#checkPermits(request.locks);
    const blockers = this.#blockers(request.locks, written?.token ?? Number.POSITIVE_INFINITY);
    if (blockers.length > 0) return { state: 'refused', blockers };
    return this.#granted(written ?? this.#write(request), request);
  }

  place(ticket: Ticket): Placement {
    if (!this.#exists(ticket)) return { state: 'gone' };
    return this.#disabled(ticket.locks) ?? this.#placement(ticket);
  }

  stands(ticket: Ticket): boolean {
    return this.#exists(ticket) && this.#blockers(ticket.locks, ticket.token).length === 0;
  }

  remove(target: Ticket | TicketRequest, claim?: string, note?: RecordNote): void {
    const ticket = this.#tickets.get(target.nonce);
    const isThere = ticket && (!('token' in target) || target.token === ticket.token);
    const removedRecords = claim !== undefined && this.#records.delete(claim) ? [claim] : [];
    if (isThere) this.#removeTickets([ticket], removedRecords, note && [note]);
    else this.#removeTickets([], removedRecords);
  }

  commit(change: GuardedChange): Committed {
    const judgement = judgeChange(change, {
      exists: (ticket) => this.#exists(ticket),
      record: (key) => this.#records.get(key),
    });
    if (judgement.state === 'refused') throw judgement.error;
    if (judgement.state === 'made') return { revision: judgement.revision ?? this.#revision };
    const removedRecords = change.writes
      .filter(({ key, value }) => value === undefined && this.#records.has(key))
      .map(({ key }) => key);
    const written = change.writes.flatMap(({ key, value }) =>
      value === undefined ? [] : [{ key, value }],
    );
    if (written.length + removedRecords.length + change.release.length > 0) {
      const revision = this.#nextRevision();
      const records = written.map((record) => ({ ...record, revision }));
      for (const record of records) this.#records.set(record.key, record);
      for (const key of removedRecords) this.#records.delete(key);
      for (const ticket of change.release) this.#forget(ticket);
      const removedTickets = change.release.map(({ id, nonce }) => ({ id, nonce }));
      this.#onChange({ ...noChange(revision), removedTickets, records, removedRecords });
    }
    return { revision: this.#revision };
  }

  tickets(lockName?: string): readonly Ticket[] {
    if (lockName === undefined) return [...this.#tickets.values()];
    return (this.#queues.get(lockName) ?? []).map(({ ticket }) => ticket);
  }

  record(key: string): StoredRecord | undefined {
    return this.#records.get(key);
  }

  records(prefix: string): readonly StoredRecord[] {
    return [...this.#records.values()]
      .filter(({ key }) => key.startsWith(prefix))
      .sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  closeGate(gate: Gate): void {
    if (this.#gates.has(gate.lockName)) return;
    this.#gates.set(gate.lockName, gate);
    this.#onChange({ ...noChange(this.#nextRevision()), closedGates: [gate] });
  }

  openGate(lockName: string): void {
    if (!this.#gates.delete(lockName)) return;
    this.#onChange({ ...noChange(this.#nextRevision()), openedGates: [lockName] });
  }

  gates(): readonly Gate[] {
    return [...this.#gates.values()].sort((a, b) => (a.lockName < b.lockName ? -1 : 1));
  }

  #checkSession(id: string): void {
    if (!this.#sessions.has(id)) throw new SessionGoneError(`session ${id} has ended`);
  }

  #exists(ticket: Ticket): boolean {
    return this.#tickets.get(ticket.nonce)?.token === ticket.token;
  }

  #disabled(locks: readonly LockRequest[]): Disabled | undefined {
    const names = new Set(locks.map(({ name }) => name));
    const gates = this.gates().filter(({ lockName }) => names.has(lockName));
    return gates.length > 0 ? { state: 'disabled', gates } : undefined;
  }

  #placement(ticket: Ticket): Granted | Waiting {
    const blockers = this.#blockers(ticket.locks, ticket.token);
    if (blockers.length === 0) return { state: 'granted', ticket };
    return { state: 'waiting', ticket, blockers, revision: this.#revision };
  }

  #blockers(locks: readonly LockRequest[], below: number): Ticket[] {
    const nearest = new Set<Ticket>();
    for (const lock of locks) {
      const queue = this.#queues.get(lock.name) ?? [];
      const inTheWay = queue.findLast(
        ({ ticket, lock: other }) => ticket.token < below && conflicts(lock.mode, other.mode),
      );
      if (inTheWay !== undefined) nearest.add(inTheWay.ticket);
      if (lock.mode !== 'permit') continue;
      const permits = queue.filter(
        ({ ticket, lock: other }) => ticket.token < below && other.mode === 'permit',
      );
      if (permits.length < lock.permits) continue;
      for (const { ticket } of permits.slice(-lock.permits)) nearest.add(ticket);
    }
    return [...nearest].sort((a, b) => a.token - b.token);
  }

  #checkPermits(locks: readonly LockRequest[]): void {
    for (const lock of locks) {
      if (lock.mode !== 'permit') continue;
      for (const { ticket, lock: other } of this.#queues.get(lock.name) ?? []) {
        if (other.mode !== 'permit' || other.permits === lock.permits) continue;
        throw new PermitsDifferError(lock.name, lock.permits, ticket);
      }
    }
  }

  #granted(ticket: Ticket, { read, readBelow }: TicketRequest): Granted {
    if (read === undefined) return { state: 'granted', ticket };
    const below = readBelow === undefined ? {} : { below: this.records(readBelow) };
    return { state: 'granted', ticket, read: { record: this.#records.get(read), ...below } };
  }

  #write(whole: TicketRequest): Ticket {
    const request = storedPart(whole);
    const { session, locks } = request;
    const id = this.#freeId(session, locks);
    const revision = this.#nextRevision();
    const ticket: Ticket = { ...request, id, token: revision };
    this.#add(ticket);
    const records = recordsOf(whole).map((record) => ({ ...record, revision }));
    for (const record of records) this.#records.set(record.key, record);
    this.#onChange({ ...noChange(revision), tickets: [ticket], records });
    return ticket;
  }

  #add(ticket: Ticket): void {
    this.#tickets.set(ticket.nonce, ticket);
    for (const lock of ticket.locks) {
      const queue = this.#queues.get(lock.name);
      if (queue === undefined) this.#queues.set(lock.name, [{ ticket, lock }]);
      else queue.push({ ticket, lock });
    }
  }

  /** Returns an id with the lowest number that is free on all the locks. Ids are reused. */
  #freeId(session: string, locks: readonly LockRequest[]): string {
    const used = new Set(
      locks.flatMap(({ name }) => (this.#queues.get(name) ?? []).map(({ ticket }) => ticket.id)),
    );
    let slot = 0;
    while (used.has(`${session}.${slot}`)) slot += 1;
    return `${session}.${slot}`;
  }

  #removeTickets(
    tickets: readonly Ticket[],
    removedRecords: readonly string[] = [],
    written: readonly RecordNote[] = [],
  ): void {
    if (tickets.length + removedRecords.length + written.length === 0) return;
    for (const ticket of tickets) this.#forget(ticket);
    const removedTickets = tickets.map(({ id, nonce }) => ({ id, nonce }));
    const revision = this.#nextRevision();
    const records = written.map((record) => ({ ...record, revision }));
    for (const record of records) this.#records.set(record.key, record);
    this.#onChange({ ...noChange(revision), removedTickets, records, removedRecords });
  }

  #forget({ nonce, locks }: Ticket): void {
    this.#tickets.delete(nonce);
    for (const { name } of locks) {
      const rest = this.#queues.get(name)?.filter(({ ticket }) => ticket.nonce !== nonce) ?? [];
      if (rest.length === 0) this.#queues.delete(name);
      else this.#queues.set(name, rest);
    }
  }

  #nextRevision(): number {
    this.#revision += 1;
    return this.#revision;
  }
}

const emptyState: ModelState = { revision: 0, sessions: [], tickets: [], records: [], gates: [] };
