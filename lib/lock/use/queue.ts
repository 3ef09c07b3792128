import { blockersOf } from '../conflicts.ts';
import type { Ticket } from '../ticket.ts';

/** The tickets on one lock, split into holders and waiters. */
export interface LockQueue {
  /** Tickets with no blocker; several only if they share the lock or have permits of it. */
  readonly holders: readonly Ticket[];
  /** Waiting tickets in the order of their grants. */
  readonly waiting: readonly Ticket[];
}

/** Splits all tickets on a lock into holders and waiters. */
export function lockQueueOf(tickets: readonly Ticket[]): LockQueue {
  const holders: Ticket[] = [];
  const waiting: Ticket[] = [];
  // Only tickets on the same lock conflict: a host may have thousands of others.
  const onLock = new Map<string, Ticket[]>();
  for (const ticket of tickets) {
    for (const { name } of ticket.locks) {
      const others = onLock.get(name);
      if (others) others.push(ticket);
      else onLock.set(name, [ticket]);
    }
  }
  for (const ticket of tickets) {
    const others = new Set(ticket.locks.flatMap(({ name }) => onLock.get(name) ?? []));
    (blockersOf(ticket, others).length === 0 ? holders : waiting).push(ticket);
  }
  return { holders, waiting };
}
