import createDebug from 'debug';
import type { Clock } from '../../running/clock.ts';
import { isPermanent } from '../permanent-session.ts';
import type { TicketStore } from '../stores/ticket-store.ts';
import type { Ticket, TicketRequest } from '../ticket.ts';
import type { SessionPool } from './session-pool.ts';
import type { StoreMirror } from './store-mirror.ts';

const log = createDebug('berth:lock');

/** How long a removal keeps its caller waiting while the store does not answer. */
const patienceMs = 2_000;

/** How old a ticket of ours that nobody knows must be before it is taken for a stray. */
const strayDelayMs = 1_000;

export interface OwnTicketsOptions {
  readonly store: TicketStore;
  readonly clock: Clock;
  readonly sessions: SessionPool;
  readonly mirror: StoreMirror;
  readonly closing: AbortSignal;
  /**
   * An earlier process's main session is resumed: its tickets are no strays until `dropStrays`. Those
   * of the permanent session never are before that.
   */
  readonly resumes: boolean;
}

/**
 * The tickets that this process wants or is removing. Any other ticket of its session is a
 * **stray**: a write whose answer was lost and that arrived after we had given it up, or what an
 * earlier process has left. Nobody else would ever remove it.
 */
export class OwnTickets {
  readonly #options: OwnTicketsOptions;
  /** By nonce: the session. */
  readonly #known = new Map<string, string>();
  /** By nonce: those that are being removed. */
  readonly #removing = new Set<string>();
  /** Who asks for a ticket back, and whether it was given up meanwhile. */
  readonly #reclaims = new Set<{ readonly nonce: string; isGivenUp: boolean }>();
  readonly #removals = new Set<Promise<void>>();
  /** The kinds of session on which tickets of an earlier process may stand that are still wanted. */
  readonly #inherited: { leased: boolean; permanent: boolean };
  #isLookingForStrays = false;

  constructor(options: OwnTicketsOptions) {
    this.#options = options;
    this.#inherited = { leased: options.resumes, permanent: true };
    options.mirror.listen((event) => {
      if (event.kind === 'change') this.#noticeStrays(event.change.tickets);
      else if (event.kind === 'reset') this.#noticeStrays(options.mirror.tickets());
    });
  }

  /** Before it is written, so that it is never taken for a stray. */
  add({ nonce, session }: { readonly nonce: string; readonly session: string }): void {
    this.#known.set(nonce, session);
  }

  /** It is not in the store, for certain. */
  forget({ nonce }: { readonly nonce: string }): void {
    this.#giveUp(nonce);
    this.#known.delete(nonce);
    this.#removing.delete(nonce);
    // An earlier call of the same request may have arrived after the removal: no stray till now.
    const left = this.#options.mirror.ticket(nonce);
    if (left) this.#noticeStrays([left]);
  }

  /**
   * Whether a ticket stands, as the store says, and this process has not given it up, neither
   * before nor while the store was asked: the answer would be out of date.
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

  /** Nothing of an earlier process is in the main session. */
  ownSession(): void {
    this.#inherited.leased = false;
  }

  /**
   * Removes a ticket that may or may not be in the store. Resolves when it is gone, or after a
   * while: the removal then goes on in the background until the store has confirmed it.
   */
  async remove(ticket: Ticket | TicketRequest): Promise<void> {
    const { clock } = this.#options;
    const startedAt = clock.now();
    this.#giveUp(ticket.nonce);
    this.#removing.add(ticket.nonce);
    if (await this.#isRemoved(ticket)) return;
    const removal = this.#removeUntilGone(ticket);
    this.#removals.add(removal);
    void removal.then(() => this.#removals.delete(removal));
    const leftMs = startedAt + patienceMs - clock.now();
    if (leftMs <= 0) return;
    const enough = new AbortController();
    await Promise.race([removal, clock.sleep(leftMs, enough.signal)]);
    enough.abort();
  }

  /** Removes all strays, of earlier processes too. From now on they are removed when seen. */
  async dropStrays(): Promise<void> {
    Object.assign(this.#inherited, { leased: false, permanent: false });
    const { store } = this.#options;
    for (const ticket of await store.tickets()) {
      if (this.#isStray(ticket)) await store.remove(ticket);
    }
  }

  /** How many removals the store has not confirmed yet. */
  get unconfirmed(): number {
    return this.#removals.size;
  }

  /** Resolves when no removal is under way; after `closing` each of them ends soon. */
  async settled(): Promise<void> {
    await Promise.all(this.#removals);
  }

  /** One try. */
  async #isRemoved(ticket: Ticket | TicketRequest): Promise<boolean> {
    try {
      await this.#options.store.remove(ticket);
    } catch (error) {
      log('removal of %s failed: %s', ticket.nonce, error);
      return false;
    }
    this.forget(ticket);
    return true;
  }

  async #removeUntilGone(ticket: Ticket | TicketRequest): Promise<void> {
    const { clock, closing, sessions } = this.#options;
    const ttlMs = sessions.session(ticket.session)?.ttlMs ?? Number.POSITIVE_INFINITY;
    const startedAt = clock.now();
    for (let pauseMs = 50; ; pauseMs = Math.min(pauseMs * 2, 2_000)) {
      await clock.sleep(pauseMs, closing);
      if (closing.aborted || sessions.hasEnded(ticket.session)) break;
      if (await this.#isRemoved(ticket)) break;
      const isOverdue = clock.now() - startedAt > ttlMs;
      if (isOverdue && !this.#isInUse(ticket.session)) sessions.drop(ticket.session);
    }
    this.forget(ticket);
  }

  /**
   * Somebody holds or wants a ticket of this session. One in which there are only tickets that the
   * store won't remove is better dropped: they go with it.
   */
  #isInUse(id: string): boolean {
    return [...this.#known].some(
      ([nonce, session]) => session === id && !this.#removing.has(nonce),
    );
  }

  #giveUp(nonce: string): void {
    for (const reclaim of this.#reclaims) if (reclaim.nonce === nonce) reclaim.isGivenUp = true;
  }

  /** Looks a little later, when whoever knows the ticket has had time to say so. */
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
