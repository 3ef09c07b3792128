import type { Ticket } from '../ticket.ts';
import { blockersOf } from '../ticket.ts';

/** The tickets on one lock, split into holders and waiters. */
export interface LockQueue {
  /** Tickets with no blocker; several only if they share the lock. */
  readonly holders: readonly Ticket[];
  /** Waiting tickets in the order of their grants. */
  readonly waiting: readonly Ticket[];
}

/** Splits all tickets on a lock into holders and waiters. */
export function lockQueueOf(tickets: readonly Ticket[]): LockQueue {
  const holders: Ticket[] = [];
  const waiting: Ticket[] = [];
  for (const ticket of tickets) {
    (blockersOf(ticket, tickets).length === 0 ? holders : waiting).push(ticket);
  }
  return { holders, waiting };
}
