import { PermitsDifferError } from './errors.ts';
import type { LockRequest, Mode, Ticket } from './ticket.ts';

/**
 * The rules of who waits for whom. A ticket waits for lower tickets only, and those only disappear; so a ticket that was
 * granted stays granted, and tickets are granted in their order.
 */

/** True when two requests for one lock exclude each other whatever else stands. (Permits are counted.) */
export function conflicts(a: Mode, b: Mode): boolean {
  return a === 'exclusive' || a !== b;
}

/** Returns the tickets that `ticket` waits for: lower ones that conflict on any of its locks. */
export function blockersOf(ticket: Ticket, all: Iterable<Ticket>): Ticket[] {
  const names = new Set(ticket.locks.map(({ name }) => name));
  const lower: Ticket[] = [];
  for (const other of all) {
    if (other.token >= ticket.token || other.nonce === ticket.nonce) continue;
    if (other.locks.some(({ name }) => names.has(name))) lower.push(other);
  }
  const blockers = new Set(ticket.locks.flatMap((lock) => inTheWayOf(lock, lower)));
  return [...blockers].sort((a, b) => a.token - b.token);
}

/** Returns the tickets that keep a request for one lock from it, among all tickets that come before it. */
export function inTheWayOf(lock: LockRequest, earlier: readonly Ticket[]): Ticket[] {
  const others = earlier.flatMap((ticket) => {
    const mode = modeOn(lock.name, ticket);
    return mode === undefined ? [] : [{ ticket, mode }];
  });
  const permits = others.filter(({ mode }) => mode === 'permit');
  const isFull = lock.mode === 'permit' && permits.length >= lock.permits;
  return others
    .filter(({ mode }) => (isFull && mode === 'permit') || conflicts(lock.mode, mode))
    .map(({ ticket }) => ticket);
}

/**
 * True when a ticket with the locks `a` can keep one with the locks `b` waiting. Of permits it takes as many as there
 * are.
 */
export function conflicting(a: readonly LockRequest[], b: readonly LockRequest[]): boolean {
  return a.some((x) => b.some((y) => x.name === y.name && conflicts(x.mode, y.mode)));
}

function modeOn(name: string, { locks }: Ticket): Mode | undefined {
  return locks.find((lock) => lock.name === name)?.mode;
}

/** Throws PermitsDifferError if a ticket says another number of permits for one of the locks. */
export function requireSamePermits(
  locks: readonly LockRequest[],
  tickets: readonly Ticket[],
): void {
  for (const lock of locks) {
    if (lock.mode !== 'permit') continue;
    const differs = (other: LockRequest) =>
      other.mode === 'permit' && other.name === lock.name && other.permits !== lock.permits;
    const ticket = tickets.find((each) => each.locks.some(differs));
    if (ticket) throw new PermitsDifferError(lock.name, lock.permits, ticket);
  }
}
