/**
 * The nouns of the lock engine.
 *
 * A **ticket** is one queued or granted request for one or more locks. It is written in one atomic
 * step, so it has one place in the store's total order: its **token**. Conflicting tickets are
 * granted in token order. A ticket belongs to a **session** (a host's lease in the store) and names
 * its **holder** for people.
 */

/** Exclusive conflicts with everything; shared only with exclusive. */
export type Mode = 'exclusive' | 'shared';

/** One lock asked for. Names are any non-empty text; stores encode them. */
export interface LockRequest {
  readonly name: string;
  readonly mode: Mode;
}

/** Who a ticket belongs to, for people and for the conflict error they read. */
export interface Holder {
  readonly host: string;
  /** Why the lock is taken, e.g. `Mount`. */
  readonly reason: string;
  /** When the request was made, by the holder's own clock; RFC 3339. For display, never compared. */
  readonly since: string;
  /** Anything that helps a person find the holder: mount IDs, a command line. */
  readonly detail?: string;
}

/** What a client asks a store to queue. */
export interface TicketRequest {
  /** The session that the ticket hangs on. */
  readonly session: string;
  /** Random and unique per acquisition: tells this ticket from an earlier one in the same place. */
  readonly nonce: string;
  /** At least one; no name twice. */
  readonly locks: readonly LockRequest[];
  /** What the locks are for, as programs tell uses apart, e.g. `mount`. Any text. */
  readonly kind: string;
  /** The identity of the host that asks: the owner of its sessions. */
  readonly owner: string;
  /** For people only: no program decides by it. */
  readonly holder: Holder;
  /**
   * The key of a record that is given the nonce as its value in the very step that writes the
   * ticket, whether it is granted or has to wait: while it has that value, nobody has asked with
   * the same mark since. Not when nothing is written, and not again by a repeat.
   */
  readonly mark?: string;
  /**
   * The key of a record to read for the grant: an answer that grants the ticket in the step that
   * writes it also tells the record.
   */
  readonly read?: string;
  /** The work under the locks frees space in the store, so a full store need not refuse it. */
  readonly freesSpace?: boolean;
}

/** A request as it stands in the store. */
export interface Ticket extends Omit<TicketRequest, 'mark' | 'read' | 'freesSpace'> {
  /** Where the store keeps it; unique among the tickets of one lock at any one time. */
  readonly id: string;
  /** Its number in the store's total order. A later grant of a lock has a larger token. */
  readonly token: number;
}

/**
 * The **gate** of a lock, closed: from then on nobody is granted the lock, until it is opened again.
 * Whoever holds it keeps it. It is durable, and belongs to no session.
 */
export interface Gate {
  readonly lockName: string;
  /** Who closed it, and when by their clock (RFC 3339); for people. */
  readonly host: string;
  readonly since: string;
  /** Why, in the operator's words. */
  readonly why?: string;
}

/**
 * True when one host made both tickets. The owner of a ticket from a release that stored none names
 * no machine (ticket-schema.ts); it counts as that of every host of its name, because to take a
 * living host for a dead one costs data.
 */
export function isSameOwner(a: string, b: string): boolean {
  if (a === b) return true;
  const isUnknown = a.startsWith(unknownMachine) || b.startsWith(unknownMachine);
  return isUnknown && hostName(a) === hostName(b);
}

/** Stands in an owner for the id of a machine that is not known. */
export const unknownMachine = '?.';

/** The part of an owner behind the machine id; the whole owner when it names no machine. */
function hostName(owner: string): string {
  return owner.slice(owner.indexOf('.') + 1);
}

/** True when two requests for the same lock can't both be granted. */
export function conflicts(a: Mode, b: Mode): boolean {
  return a === 'exclusive' || b === 'exclusive';
}

/** The tickets that `ticket` must wait for: the lower ones that conflict on any of its locks. */
export function blockersOf(ticket: Ticket, all: Iterable<Ticket>): Ticket[] {
  const blockers: Ticket[] = [];
  for (const other of all) {
    if (other.token >= ticket.token || other.nonce === ticket.nonce) continue;
    if (conflicting(ticket.locks, other.locks)) blockers.push(other);
  }
  return blockers.sort((a, b) => a.token - b.token);
}

/** True when two lock sets have a lock in common on which their modes conflict. */
export function conflicting(a: readonly LockRequest[], b: readonly LockRequest[]): boolean {
  return a.some((x) => b.some((y) => x.name === y.name && conflicts(x.mode, y.mode)));
}

export function namesOf(locks: readonly LockRequest[]): string[] {
  return locks.map(({ name }) => name);
}
