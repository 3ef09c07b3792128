import createDebug from 'debug';
import type { Clock } from '../../running/clock.ts';
import { isPermanent } from '../permanent-session.ts';
import type { RecordNote, TicketStore } from '../stores/ticket-store.ts';
import type { Ticket, TicketRequest } from '../ticket.ts';
import type { SessionPool } from './session-pool.ts';
import type { StoreMirror } from './store-mirror.ts';

const log = createDebug('berth:lock');

/** How long `remove` makes its caller wait while the store does not answer. */
const patienceMs = 2_000;

/** How long an unknown ticket of ours must stand before it counts as a stray. */
const strayDelayMs = 1_000;

export interface OwnTicketsOptions {
  readonly store: TicketStore;
  readonly clock: Clock;
  readonly sessions: SessionPool;
  readonly mirror: StoreMirror;
  readonly closing: AbortSignal;
  /**
   * True if this process resumes the main session of an earlier one: tickets on it are no strays
   * before `dropStrays`. Tickets on the permanent session never are before that call.
   */
  readonly resumes: boolean;
}

/**
 * The tickets that this process wants or is removing. Any other ticket of its sessions is a
 * **stray**: a request whose answer was lost and that arrived after this process had given it up,
 * or a ticket that an earlier process has left. Only this process removes its strays.
 */
export class OwnTickets {
  readonly #options: OwnTicketsOptions;
  /** Session by nonce. */
  readonly #known = new Map<string, string>();
  /** Nonces of the tickets that are being removed. */
  readonly #removing = new Set<string>();
  /** Running calls of `stands`, and whether their ticket was given up meanwhile. */
  readonly #reclaims = new Set<{ readonly nonce: string; isGivenUp: boolean }>();
  readonly #removals = new Set<Promise<void>>();
  /** The kinds of session that may hold tickets of an earlier process that are still wanted. */
  readonly #inherited: { leased: boolean; permanent: boolean };
  #isLookingForStrays = false;

  constructor(options: OwnTicketsOptions) {
    this.#options = options;
    this.#inherited = { leased: options.resumes, permanent: true };
    options.sessions.hasTickets = (id) => [...this.#known.values()].includes(id);
    options.mirror.listen((event) => {
      if (event.kind === 'change') this.#noticeStrays(event.change.tickets);
      else if (event.kind === 'reset') this.#noticeStrays(options.mirror.tickets());
    });
  }

  /** Call before writing the ticket, or the stray sweep may remove it. */
  add({ nonce, session }: { readonly nonce: string; readonly session: string }): void {
    this.#known.set(nonce, session);
  }

  /** Forgets a ticket that is proved not to be in the store. */
  forget({ nonce }: { readonly nonce: string }): void {
    this.#giveUp(nonce);
    this.#known.delete(nonce);
    this.#removing.delete(nonce);
    // An earlier call of the same request may have arrived after the removal: now it is a stray.
    const left = this.#options.mirror.ticket(nonce);
    if (left) this.#noticeStrays([left]);
  }

  /**
   * True if the store says that the ticket stands, and this process gave the ticket up neither
   * before nor during the call; then the store's answer would be out of date.
   */
  async stands(ticket: Ticket): Promise<boolean> {
    const reclaim = { nonce: ticket.nonce, isGivenUp: this.#removing.has(ticket.nonce) };
    this.#reclaims.add(reclaim);
    try {
      return (await this.#options.store.stands(ticket)) && !reclaim.isGivenUp;
    } finally {
      this.#reclaims.delete(reclaim);
    }
  }

  /** Records that the main session is new: an earlier process has left nothing on it. */
  ownSession(): void {
    this.#inherited.leased = false;
  }

  /**
   * Removes a ticket that may or may not be in the store. Resolves when it is gone, or after
   * `patienceMs`; the removal is then retried in the background until the store has confirmed it.
   * The same step deletes the claim: that of a request that gives up, or the given one.
   */
  async remove(
    ticket: Ticket | TicketRequest,
    claim = 'claim' in ticket ? ticket.claim?.key : undefined,
    note?: RecordNote,
  ): Promise<void> {
    const { clock } = this.#options;
    const startedAt = clock.now();
    this.#giveUp(ticket.nonce);
    this.#removing.add(ticket.nonce);
    if (await this.#isRemoved(ticket, claim, note)) return;
    const removal = this.#removeUntilGone(ticket, claim, note);
    this.#removals.add(removal);
    void removal.then(() => this.#removals.delete(removal));
    const leftMs = startedAt + patienceMs - clock.now();
    if (leftMs <= 0) return;
    const enough = new AbortController();
    await Promise.race([removal, clock.sleep(leftMs, enough.signal)]);
    enough.abort();
  }

  /** Removes all strays, also those of earlier processes; later ones are removed when seen. */
  async dropStrays(): Promise<void> {
    Object.assign(this.#inherited, { leased: false, permanent: false });
    const { store } = this.#options;
    for (const ticket of await store.tickets()) {
      if (this.#isStray(ticket)) await store.remove(ticket);
    }
  }

  /** The number of removals that the store has not confirmed yet. */
  get unconfirmed(): number {
    return this.#removals.size;
  }

  /** Resolves when no removal is running; after `closing` each removal ends soon. */
  async settled(): Promise<void> {
    await Promise.all(this.#removals);
  }

  /** Tries once to remove a ticket. */
  async #isRemoved(
    ticket: Ticket | TicketRequest,
    claim?: string,
    note?: RecordNote,
  ): Promise<boolean> {
    try {
      await this.#options.store.remove(ticket, claim, note);
    } catch (error) {
      log('removal of %s failed: %s', ticket.nonce, error);
      return false;
    }
    this.forget(ticket);
    return true;
  }

  async #removeUntilGone(
    ticket: Ticket | TicketRequest,
    claim?: string,
    note?: RecordNote,
  ): Promise<void> {
    const { clock, closing, sessions } = this.#options;
    const ttlMs = sessions.session(ticket.session)?.ttlMs ?? Number.POSITIVE_INFINITY;
    const startedAt = clock.now();
    for (let pauseMs = 50; ; pauseMs = Math.min(pauseMs * 2, 2_000)) {
      await clock.sleep(pauseMs, closing);
      // A claim outlives the session; its ticket does not.
      if (closing.aborted || (sessions.hasEnded(ticket.session) && claim === undefined)) break;
      if (await this.#isRemoved(ticket, claim, note)) break;
      const isOverdue = clock.now() - startedAt > ttlMs;
      if (isOverdue && !this.#isInUse(ticket.session)) sessions.drop(ticket.session);
    }
    this.forget(ticket);
  }

  /**
   * True if somebody holds or wants a ticket of this session. A session that has only tickets which
   * the store fails to remove is dropped, and its tickets with it.
   */
  #isInUse(id: string): boolean {
    return [...this.#known].some(
      ([nonce, session]) => session === id && !this.#removing.has(nonce),
    );
  }

  #giveUp(nonce: string): void {
    for (const reclaim of this.#reclaims) if (reclaim.nonce === nonce) reclaim.isGivenUp = true;
  }

  /** Looks for strays after a delay, so that a request can add its ticket first. */
  #noticeStrays(tickets: readonly Ticket[]): void {
    const { clock, closing, mirror } = this.#options;
    if (this.#isLookingForStrays || closing.aborted) return;
    if (!tickets.some((ticket) => this.#isStray(ticket))) return;
    this.#isLookingForStrays = true;
    void clock.sleep(strayDelayMs, closing).then(async () => {
      this.#isLookingForStrays = false;
      if (closing.aborted) return;
      const strays = mirror.tickets().filter((ticket) => this.#isStray(ticket));
      await Promise.all(strays.map((ticket) => this.remove(ticket)));
    });
  }

  #isStray({ session, nonce }: Ticket): boolean {
    if (!this.#options.sessions.isOurs(session) || this.#known.has(nonce)) return false;
    return !(isPermanent(session) ? this.#inherited.permanent : this.#inherited.leased);
  }
}
