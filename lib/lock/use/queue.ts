import type { Ticket } from '../ticket.ts';
import { blockersOf } from '../ticket.ts';

/** The tickets on a volume's lock, told apart. */
export interface LockQueue {
  /** Nobody is before them; several only when they share. */
  readonly holders: readonly Ticket[];
  /** In the order in which they will be granted. */
  readonly waiting: readonly Ticket[];
}

/** Tells who holds and who waits, from all the tickets there are on a lock. */
export function lockQueueOf(tickets: readonly Ticket[]): LockQueue {
  const holders: Ticket[] = [];
  const waiting: Ticket[] = [];
  for (const ticket of tickets) {
    (blockersOf(ticket, tickets).length === 0 ? holders : waiting).push(ticket);
  }
  return { holders, waiting };
}
