import type { Clock } from '../clock.ts';
import { SessionGoneError } from '../errors.ts';
import type { LockRequest, Mode, Ticket, TicketRequest } from '../ticket.ts';
import { conflicts } from '../ticket.ts';
import { judgeChange } from './guarded-change.ts';
import type {
  Committed,
  GuardedChange,
  OpenSession,
  Placement,
  Refused,
  SessionRequest,
  StoreChange,
  StoredRecord,
  StoreState,
} from './ticket-store.ts';

/** `setTimeout` fires at once for longer waits than this, and nothing is lost by waking early. */
const LONGEST_SLEEP_MS = 3_600_000;

interface Session {
  readonly ttlMs: number;
  expiresAt: number;
}

interface Queued {
  readonly ticket: Ticket;
  readonly mode: Mode;
}

/**
 * What the clients of one memory store share; each method is one atomic step. Sessions expire by
 * the clock: at the latest when anything is asked, and, while somebody watches, when it is time.
 */
export class MemoryState {
  readonly #clock: Clock;
  readonly #sessions = new Map<string, Session>();
  /** By nonce, in token order. */
  readonly #tickets = new Map<string, Ticket>();
  /** By lock name, in token order. */
  readonly #queues = new Map<string, Queued[]>();
  readonly #records = new Map<string, StoredRecord>();
  readonly #watchers = new Set<(change: StoreChange) => void>();
  #revision = 0;
  #lastSession = 0;
  #alarm: { readonly at: number; readonly cancel: AbortController } | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  openSession({ ttlMs, resume }: SessionRequest): OpenSession {
    this.#expire();
    if (resume !== undefined) {
      const session = this.#sessions.get(resume);
      if (session !== undefined) return { id: resume, resumed: true, ...this.#renew(session) };
    }
    this.#lastSession += 1;
    const id = `session-${this.#lastSession}`;
    this.#sessions.set(id, { ttlMs, expiresAt: this.#clock.now() + ttlMs });
    this.#setAlarm();
    return { id, ttlMs, resumed: false };
  }

  renewSession(id: string): { readonly ttlMs: number } {
    this.#expire();
    return this.#renew(this.#session(id));
  }

  closeSession(id: string): void {
    this.#expire();
    this.#dropSession(id);
  }

  sessionAlive(id: string): boolean {
    this.#expire();
    const session = this.#sessions.get(id);
    if (session === undefined) return false;
    // Holders renew well before half of the TTL has passed.
    return session.expiresAt - this.#clock.now() >= session.ttlMs / 2;
  }

  enqueue(request: TicketRequest): Exclude<Placement, { state: 'gone' }> {
    this.#expire();
    this.#session(request.session);
    const ticket = this.#tickets.get(request.nonce) ?? this.#write(request);
    return this.#placement(ticket);
  }

  tryEnqueue(request: TicketRequest): Exclude<Placement, { state: 'gone' | 'waiting' }> | Refused {
    this.#expire();
    this.#session(request.session);
    const written = this.#tickets.get(request.nonce);
    const blockers = this.#blockers(request.locks, written?.token ?? Number.POSITIVE_INFINITY);
    if (blockers.length > 0) return { state: 'refused', blockers };
    return { state: 'granted', ticket: written ?? this.#write(request) };
  }

  place(ticket: Ticket): Placement {
    this.#expire();
    return this.#exists(ticket) ? this.#placement(ticket) : { state: 'gone' };
  }

  remove(target: Ticket | TicketRequest): void {
    this.#expire();
    const ticket = this.#tickets.get(target.nonce);
    if (ticket === undefined || ('token' in target && target.token !== ticket.token)) return;
    this.#removeTickets([ticket]);
  }

  commit(change: GuardedChange): Committed {
    this.#expire();
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
      this.#notify({ revision, tickets: [], removedTickets, records, removedRecords });
    }
    return { revision: this.#revision };
  }

  tickets(lockName?: string): readonly Ticket[] {
    this.#expire();
    if (lockName === undefined) return [...this.#tickets.values()];
    return (this.#queues.get(lockName) ?? []).map(({ ticket }) => ticket);
  }

  record(key: string): StoredRecord | undefined {
    return this.#records.get(key);
  }

  /** Answers the state now; `watcher` is called, within the step, for each change after it. */
  watch(watcher: (change: StoreChange) => void): StoreState {
    this.#expire();
    this.#watchers.add(watcher);
    this.#setAlarm();
    const records = [...this.#records.values()];
    return { revision: this.#revision, tickets: [...this.#tickets.values()], records };
  }

  unwatch(watcher: (change: StoreChange) => void): void {
    this.#watchers.delete(watcher);
    this.#setAlarm();
  }

  #session(id: string): Session {
    const session = this.#sessions.get(id);
    if (session === undefined) throw new SessionGoneError(`session ${id} has ended`);
    return session;
  }

  #renew(session: Session): { readonly ttlMs: number } {
    session.expiresAt = this.#clock.now() + session.ttlMs;
    return { ttlMs: session.ttlMs };
  }

  #expire(): void {
    const now = this.#clock.now();
    for (const [id, { expiresAt }] of this.#sessions) if (expiresAt <= now) this.#dropSession(id);
  }

  #dropSession(id: string): void {
    if (!this.#sessions.delete(id)) return;
    this.#removeTickets([...this.#tickets.values()].filter(({ session }) => session === id));
    this.#setAlarm();
  }

  /** Keeps one sleeper, until the next expiry, while there is a watcher to tell of it. */
  #setAlarm(): void {
    const expiries = [...this.#sessions.values()].map(({ expiresAt }) => expiresAt);
    const at = this.#watchers.size === 0 ? Number.POSITIVE_INFINITY : Math.min(...expiries);
    // One that rings early is left alone: renewals would else start a new sleeper each.
    if (this.#alarm !== undefined && at !== Number.POSITIVE_INFINITY && this.#alarm.at <= at)
      return;
    this.#alarm?.cancel.abort();
    this.#alarm = undefined;
    if (at === Number.POSITIVE_INFINITY) return;
    const alarm = { at, cancel: new AbortController() };
    this.#alarm = alarm;
    void this.#ring(alarm);
  }

  async #ring({ at, cancel }: { at: number; cancel: AbortController }): Promise<void> {
    const ms = Math.min(Math.max(0, Math.ceil(at - this.#clock.now())), LONGEST_SLEEP_MS);
    await this.#clock.sleep(ms, cancel.signal);
    if (cancel.signal.aborted) return;
    this.#alarm = undefined;
    this.#expire();
    this.#setAlarm();
  }

  #exists(ticket: Ticket): boolean {
    return this.#tickets.get(ticket.nonce)?.token === ticket.token;
  }

  #placement(ticket: Ticket): Exclude<Placement, { state: 'gone' }> {
    const blockers = this.#blockers(ticket.locks, ticket.token);
    if (blockers.length === 0) return { state: 'granted', ticket };
    return { state: 'waiting', ticket, blockers, revision: this.#revision };
  }

  #blockers(locks: readonly LockRequest[], below: number): Ticket[] {
    const nearest = new Set<Ticket>();
    for (const lock of locks) {
      const inTheWay = this.#queues
        .get(lock.name)
        ?.findLast(({ ticket, mode }) => ticket.token < below && conflicts(lock.mode, mode));
      if (inTheWay !== undefined) nearest.add(inTheWay.ticket);
    }
    return [...nearest].sort((a, b) => a.token - b.token);
  }

  #write({ session, nonce, locks, holder }: TicketRequest): Ticket {
    const id = this.#freeId(session, locks);
    const ticket: Ticket = { id, token: this.#nextRevision(), session, nonce, locks, holder };
    this.#tickets.set(nonce, ticket);
    for (const { name, mode } of locks) {
      const queue = this.#queues.get(name);
      if (queue === undefined) this.#queues.set(name, [{ ticket, mode }]);
      else queue.push({ ticket, mode });
    }
    this.#notify({ ...noChange(ticket.token), tickets: [ticket] });
    return ticket;
  }

  /** The lowest number free on all the locks: like other stores, this one uses an id again. */
  #freeId(session: string, locks: readonly LockRequest[]): string {
    const used = new Set(
      locks.flatMap(({ name }) => (this.#queues.get(name) ?? []).map(({ ticket }) => ticket.id)),
    );
    let slot = 0;
    while (used.has(`${session}.${slot}`)) slot += 1;
    return `${session}.${slot}`;
  }

  #removeTickets(tickets: readonly Ticket[]): void {
    if (tickets.length === 0) return;
    for (const ticket of tickets) this.#forget(ticket);
    const removedTickets = tickets.map(({ id, nonce }) => ({ id, nonce }));
    this.#notify({ ...noChange(this.#nextRevision()), removedTickets });
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

  #notify(change: StoreChange): void {
    for (const watcher of this.#watchers) watcher(change);
  }
}

function noChange(revision: number): StoreChange {
  return { revision, tickets: [], removedTickets: [], records: [], removedRecords: [] };
}
