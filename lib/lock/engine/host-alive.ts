import { isPermanent } from '../permanent-session.ts';
import type { TicketStore } from '../stores/ticket-store.ts';
import type { Ticket } from '../ticket.ts';
import { isSameOwner } from '../ticket.ts';

/**
 * True if the host that made the ticket has renewed a session lately. A permanent session proves no
 * liveness; then any other session with a ticket of the same owner does.
 */
export async function isHostAlive(store: TicketStore, ticket: Ticket): Promise<boolean> {
  if (!isPermanent(ticket.session)) return store.sessionAlive(ticket.session);
  const others = (await store.tickets())
    .filter(({ owner }) => isSameOwner(owner, ticket.owner))
    .map(({ session }) => session)
    .filter((session) => !isPermanent(session));
  for (const session of new Set(others)) if (await store.sessionAlive(session)) return true;
  return false;
}
