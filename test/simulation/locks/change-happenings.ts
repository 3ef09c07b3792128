import type { StoreChange } from '../../../lib/lock/stores/ticket-store.ts';
import type { Ticket } from '../../../lib/lock/ticket.ts';
import type { Happening, RemovalCause } from './history.ts';

export interface ChangeNames {
  /** The numbers of the tickets that stand, by nonce; kept up to date. */
  readonly standing: Map<string, number>;
  /** Returns the number of a ticket that was queued. */
  numberOf(ticket: Ticket): number;
  /** Returns why a ticket was removed. */
  causeOf(ticket: { readonly nonce: string; readonly token: number }): RemovalCause | undefined;
}

/** Returns the events of a change, in the order in which they are judged. */
export function happeningsOf(change: StoreChange, names: ChangeNames): Happening[] {
  const { standing } = names;
  const happenings: Happening[] = [];
  for (const { key, value } of change.records) {
    const token = Number.parseInt(value, 10);
    happenings.push({ kind: 'wrote', token, lockName: key, value });
  }
  for (const { nonce } of change.removedTickets) {
    const token = standing.get(nonce) ?? 0;
    standing.delete(nonce);
    happenings.push({ kind: 'removed', token, cause: names.causeOf({ nonce, token }) });
  }
  for (const ticket of change.tickets) {
    const { nonce, session, locks, holder } = ticket;
    const token = names.numberOf(ticket);
    standing.set(nonce, token);
    const request = holder.detail ?? '';
    happenings.push({ kind: 'queued', token, nonce, request, session, locks });
  }
  for (const { lockName } of change.closedGates) happenings.push({ kind: 'closed gate', lockName });
  for (const lockName of change.openedGates) happenings.push({ kind: 'opened gate', lockName });
  return happenings;
}
