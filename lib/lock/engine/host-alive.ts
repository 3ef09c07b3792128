import { isPermanent } from '../permanent-session.ts';
import type { TicketStore } from '../stores/ticket-store.ts';
import type { Ticket } from '../ticket.ts';
import { isSameOwner } from '../ticket.ts';

/**
 * Whether the host that a ticket belongs to has been heard of lately. Its session says so; a
 * permanent one does not, and then any other session does on which a ticket of that host stands.
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
