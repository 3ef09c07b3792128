/**
 * The nouns of the lock engine.
 *
 * A **ticket** is a queued or granted request for one or more locks. The store writes it in one
 * atomic step, so it has one place in the store's total order: its **token**. Conflicting tickets
 * are granted in token order. A ticket belongs to a **session** (a host's lease in the store), has
 * a **kind** and an **owner** for programs, and names its **holder** for people.
 */

/**
 * An exclusive lock conflicts with every other; a shared one with all but shared ones. A **permit** is one of a number
 * of places on a lock (a semaphore): it conflicts with exclusive and shared locks, and with other permits once as many
 * stand as there are.
 */
export type Mode = LockRequest['mode'];

/** A lock that is held alone, or shared by all who ask for it shared. */
export interface PlainLockRequest {
  readonly name: string;
  readonly mode: 'exclusive' | 'shared';
}

/** A permit of a lock that has `permits` of them. All tickets with permits of one lock say the same number. */
export interface PermitRequest {
  readonly name: string;
  readonly mode: 'permit';
  readonly permits: number;
}

/** One requested lock. A name is any non-empty text; stores encode it. */
export type LockRequest = PlainLockRequest | PermitRequest;

/** One lock, as a caller names it: a name alone is an exclusive lock, one with `permits` a permit. */
export type NamedLock = string | LockRequest | Omit<PermitRequest, 'mode'>;

/** One lock or several, as a caller names them. */
export type LockNames = NamedLock | readonly NamedLock[];

/** Describes the holder of a ticket for people, and for the conflict error that they read. */
export interface Holder {
  readonly host: string;
  /** Why the lock is taken, e.g. `Mount`. */
  readonly reason: string;
  /** Time of the request by the holder's clock, RFC 3339. For display, never compared. */
  readonly since: string;
  /** Text that helps a person find the holder: mount IDs, a command line. */
  readonly detail?: string;
}

/** A request for a ticket, as a client sends it to a store. */
export interface TicketRequest {
  /** The session that the ticket belongs to. */
  readonly session: string;
  /** Random and unique per request: distinguishes this ticket from an earlier one with its id. */
  readonly nonce: string;
  /** One lock or more; no name twice. */
  readonly locks: readonly LockRequest[];
  /** The purpose of the locks, for programs, e.g. `mount`. Any text. */
  readonly kind: string;
  /** The identity of the host that asks: the owner of its sessions. */
  readonly owner: string;
  /** For people only: no program decides by it. */
  readonly holder: Holder;
  /**
   * The key of a record that the store sets to the nonce in the step that writes the ticket, be it
   * granted or waiting. While the record has that value, no later request has used the same mark. A
   * request that writes no ticket does not set it, and a repeat does not set it again.
   */
  readonly mark?: string;
  /**
   * A record that the store writes in the step that writes the ticket. It outlives the ticket: only
   * `TicketStore.remove` with its key, or a commit, deletes it. While it stands without its ticket,
   * the ticket's owner has not said that the work under the lock has ended. The record's revision is
   * the ticket's token. The key must be unique to the request.
   */
  readonly claim?: Claim;
  /**
   * The key of a record to read for the grant: if the step that writes the ticket grants it, the
   * answer has the record.
   */
  readonly read?: string;
  /** With `read`: the prefix of the keys of further records to read in the same step. */
  readonly readBelow?: string;
  /** The work under the locks frees space in the store, so a full store need not refuse it. */
  readonly freesSpace?: boolean;
  /**
   * The number of the store's change of history (`HistoryChange`) until which this host held the
   * locks: the request puts them back. The store grants it in the quarantine after that change, and
   * only then.
   */
  readonly proof?: number;
}

type UnstoredField = 'mark' | 'claim' | 'read' | 'readBelow' | 'freesSpace' | 'proof';

/** A record that shows that the work under a lock has begun and has not ended yet. */
export interface Claim {
  readonly key: string;
  readonly value: string;
}

/** A request as the store keeps it. */
export interface Ticket extends Omit<TicketRequest, UnstoredField> {
  /** The place in the store; unique among the tickets of one lock at any one time. */
  readonly id: string;
  /** The number in the store's total order. A later grant of a lock has a larger token. */
  readonly token: number;
}

/**
 * The closed **gate** of a lock: the store grants the lock to nobody until the gate is opened.
 * Holders keep the lock. A gate is durable and belongs to no session.
 */
export interface Gate {
  readonly lockName: string;
  /** The host that closed the gate, and the time by its clock (RFC 3339); for people. */
  readonly host: string;
  readonly since: string;
  /** The reason, in the operator's words. */
  readonly why?: string;
}

/**
 * True if one host made both tickets. A ticket from a release that stored no owner names no machine
 * (ticket-schema.ts): it counts as a ticket of every host with its name, because to declare a
 * living host dead can destroy data.
 */
export function isSameOwner(a: string, b: string): boolean {
  if (a === b) return true;
  const isUnknown = a.startsWith(unknownMachine) || b.startsWith(unknownMachine);
  return isUnknown && hostName(a) === hostName(b);
}

/** The prefix of an owner whose machine id is not known. */
export const unknownMachine = '?.';

/** Returns the part of an owner after the machine id; the whole owner if it names no machine. */
function hostName(owner: string): string {
  return owner.slice(owner.indexOf('.') + 1);
}

export function namesOf(locks: readonly LockRequest[]): string[] {
  return locks.map(({ name }) => name);
}

/** Returns the records that the step which writes a request's ticket writes, too. */
export function recordsOf({
  mark,
  claim,
  nonce,
}: {
  readonly mark?: string | undefined;
  readonly claim?: Claim | undefined;
  readonly nonce: string;
}): Claim[] {
  return [
    ...(mark === undefined ? [] : [{ key: mark, value: nonce }]),
    ...(claim === undefined ? [] : [claim]),
  ];
}

/** Returns the part of a request that its ticket keeps. */
export function storedPart(request: TicketRequest): Omit<TicketRequest, UnstoredField> {
  const { mark: _m, claim: _c, read: _r, readBelow: _b, ...kept } = request;
  const { freesSpace: _f, proof: _p, ...stored } = kept;
  return stored;
}
