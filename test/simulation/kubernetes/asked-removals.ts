import type { Ticket, TicketRequest } from '../../../lib/lock/ticket.ts';
import type { RemovalCause } from '../locks/history.ts';

/** The removals that hosts have asked for, from the call on: it may take effect at any later time. */
export class AskedRemovals {
  readonly #ofTickets = new Map<string, RemovalCause>();
  readonly #ofSessions = new Map<string, RemovalCause>();

  ticket(method: string, host: string, ticket: Ticket | TicketRequest): void {
    const { nonce } = ticket;
    const tokens = 'token' in ticket ? { tokens: [ticket.token] } : {};
    this.#ofTickets.set(nonce, { method, host, nonce, ...tokens });
  }

  session(host: string, session: string): void {
    this.#ofSessions.set(session, { method: 'closeSession', host, session });
  }

  /** Returns who asked to remove a ticket of a session; undefined if nobody did. */
  causeOf(nonce: string, session: string): RemovalCause | undefined {
    return this.#ofTickets.get(nonce) ?? this.#ofSessions.get(session);
  }
}
