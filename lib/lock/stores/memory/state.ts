import type { Clock } from '../../../running/clock.ts';
import { SessionGoneError } from '../../errors.ts';
import { isPermanent, permanentSessionOf } from '../../permanent-session.ts';
import type { Gate, Ticket, TicketRequest } from '../../ticket.ts';
import { TicketModel } from '../ticket-model.ts';
import type {
  Committed,
  Disabled,
  Granted,
  GuardedChange,
  OpenSession,
  Placement,
  RecordNote,
  Refused,
  SessionRequest,
  StoreChange,
  StoredRecord,
  StoreState,
  Waiting,
} from '../ticket-store.ts';

/** The longest sleep: `setTimeout` fires at once for a very long time. Waking early is safe. */
const longestSleepMs = 3_600_000;

interface Session {
  readonly ttlMs: number;
  /** Counts who has opened or resumed a session; a later client of it has a larger one. */
  incarnation: number;
  expiresAt: number;
}

/**
 * The state that the clients of one memory store share; each method is one atomic step. Sessions
 * expire by the clock: before any step, and on time while there is a watcher.
 */
export class MemoryState {
  readonly #clock: Clock;
  readonly #model = new TicketModel((change) => this.#notify(change));
  readonly #sessions = new Map<string, Session>();
  readonly #watchers = new Set<(change: StoreChange) => void>();
  #lastSession = 0;
  #lastIncarnation = 0;
  #alarm: { readonly at: number; readonly cancel: AbortController } | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  openSession({ ttlMs, owner, resume }: SessionRequest): OpenSession {
    this.#expire();
    if (ttlMs === Number.POSITIVE_INFINITY) {
      const id = permanentSessionOf(owner);
      this.#addSession(id, ttlMs);
      return { id, ttlMs, resumed: true };
    }
    if (resume !== undefined) {
      const session = this.#sessions.get(resume);
      if (session !== undefined) {
        session.incarnation = this.#nextIncarnation();
        return { id: resume, resumed: true, ...this.#renew(session) };
      }
    }
    this.#lastSession += 1;
    const id = `session-${this.#lastSession}`;
    this.#addSession(id, ttlMs);
    return { id, ttlMs, resumed: false };
  }

  /** The incarnation of a session; undefined if it has ended. */
  incarnation(id: string): number | undefined {
    this.#expire();
    return this.#sessions.get(id)?.incarnation;
  }

  renewSession(id: string): { readonly ttlMs: number } {
    this.#expire();
    const session = this.#sessions.get(id);
    if (session === undefined) throw new SessionGoneError(`session ${id} has ended`);
    return this.#renew(session);
  }

  closeSession(id: string): void {
    this.#expire();
    const incarnation = this.#sessions.get(id)?.incarnation;
    this.#dropSession(id);
    if (!isPermanent(id)) return;
    this.#addSession(id, Number.POSITIVE_INFINITY);
    const session = this.#sessions.get(id);
    if (session && incarnation !== undefined) session.incarnation = incarnation;
  }

  sessionAlive(id: string): boolean {
    this.#expire();
    const session = this.#sessions.get(id);
    if (session === undefined || isPermanent(id)) return false;
    // Holders renew well before half of the TTL has passed.
    return session.expiresAt - this.#clock.now() >= session.ttlMs / 2;
  }

  enqueue(request: TicketRequest): Granted | Waiting | Disabled {
    return this.#now().enqueue(request);
  }

  tryEnqueue(request: TicketRequest): Granted | Refused | Disabled {
    return this.#now().tryEnqueue(request);
  }

  place(ticket: Ticket): Placement {
    return this.#now().place(ticket);
  }

  stands(ticket: Ticket): boolean {
    return this.#now().stands(ticket);
  }

  remove(target: Ticket | TicketRequest, claim?: string, note?: RecordNote): void {
    this.#now().remove(target, claim, note);
  }

  commit(change: GuardedChange): Committed {
    return this.#now().commit(change);
  }

  tickets(lockName?: string): readonly Ticket[] {
    return this.#now().tickets(lockName);
  }

  record(key: string): StoredRecord | undefined {
    return this.#now().record(key);
  }

  records(prefix: string): readonly StoredRecord[] {
    return this.#now().records(prefix);
  }

  closeGate(gate: Gate): void {
    this.#now().closeGate(gate);
  }

  openGate(lockName: string): void {
    this.#now().openGate(lockName);
  }

  gates(): readonly Gate[] {
    return this.#now().gates();
  }

  /** Returns the present state, and calls `watcher` within the step for each later change. */
  watch(watcher: (change: StoreChange) => void): StoreState {
    const { revision, tickets, records, gates } = this.#now().state();
    this.#watchers.add(watcher);
    this.#setAlarm();
    return { revision, tickets, records, gates };
  }

  unwatch(watcher: (change: StoreChange) => void): void {
    this.#watchers.delete(watcher);
    this.#setAlarm();
  }

  /** Returns the model without expired sessions. */
  #now(): TicketModel {
    this.#expire();
    return this.#model;
  }

  #addSession(id: string, ttlMs: number): void {
    this.#model.addSession(id);
    const expiresAt = this.#clock.now() + ttlMs;
    this.#sessions.set(id, { ttlMs, incarnation: this.#nextIncarnation(), expiresAt });
    this.#setAlarm();
  }

  #nextIncarnation(): number {
    this.#lastIncarnation += 1;
    return this.#lastIncarnation;
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
    this.#model.dropSession(id);
    this.#setAlarm();
  }

  /** Keeps one timer, for the next expiry, while there is a watcher. */
  #setAlarm(): void {
    const expiries = [...this.#sessions.values()].map(({ expiresAt }) => expiresAt);
    const at = this.#watchers.size === 0 ? Number.POSITIVE_INFINITY : Math.min(...expiries);
    // An early timer stays, so that a renewal does not start a new one each time.
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
    const ms = Math.min(Math.max(0, Math.ceil(at - this.#clock.now())), longestSleepMs);
    await this.#clock.sleep(ms, cancel.signal);
    if (cancel.signal.aborted) return;
    this.#alarm = undefined;
    this.#expire();
    this.#setAlarm();
  }

  #notify(change: StoreChange): void {
    for (const watcher of this.#watchers) watcher(change);
  }
}
