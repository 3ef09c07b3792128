import type { LockRequest } from '../../../lib/lock/ticket.ts';
import type { HistoryEvent } from './history.ts';

/**
 * True when two requests conflict. The checker judges the engine, so it uses none of the engine's
 * code.
 */
export function areRivals(a: readonly LockRequest[], b: readonly LockRequest[]): boolean {
  return a.some(({ name, mode }) =>
    b.some((other) => other.name === name && (mode === 'exclusive' || mode !== other.mode)),
  );
}

/** Returns the names of the locks of which `others` leave no permit to a request. */
export function fullLocks(
  locks: readonly LockRequest[],
  others: readonly { readonly locks: readonly LockRequest[] }[],
): string[] {
  return locks
    .filter((lock) => {
      if (lock.mode !== 'permit') return false;
      const isPermit = ({ name, mode }: LockRequest) => name === lock.name && mode === 'permit';
      return others.filter((other) => other.locks.some(isPermit)).length >= lock.permits;
    })
    .map(({ name }) => name);
}

/** True if a ticket has to wait for others, all of which came before it. */
export function isBlocked(
  { locks }: { readonly locks: readonly LockRequest[] },
  earlier: readonly { readonly locks: readonly LockRequest[] }[],
): boolean {
  return (
    earlier.some((other) => areRivals(locks, other.locks)) || fullLocks(locks, earlier).length > 0
  );
}

/** A ticket, as the history shows it. */
export interface KnownTicket {
  readonly token: number;
  readonly nonce: string;
  readonly request: string;
  readonly session: string;
  readonly locks: readonly LockRequest[];
  isGranted: boolean;
  /**
   * True: at some revision of the present history nothing was in its way and its gates were open. The store has then
   * granted it, also to a host that learns of it by its watch and does not ask.
   */
  wasFree: boolean;
  /** True: a put-back store has lost it. */
  isOfThePast: boolean;
  isBroken: boolean;
  /** The time of its removal. */
  removedAt: number | undefined;
}

/** The tickets, gates and sessions of the store, after each event that is applied. */
export class StandingTickets {
  /** All tickets that ever existed, by token. */
  readonly known = new Map<number, KnownTicket>();
  readonly standing = new Map<number, KnownTicket>();
  readonly closedGates = new Set<string>();
  /** The time at which the store may drop a session: its last renewal plus its TTL. */
  readonly expiries = new Map<string, number>();

  /** Returns the standing tickets that came before a ticket. */
  below({ token }: Pick<KnownTicket, 'token'>): KnownTicket[] {
    return [...this.standing.values()].filter((other) => other.token < token);
  }

  /** Applies an event, after it was checked. */
  apply(event: HistoryEvent): void {
    switch (event.kind) {
      case 'opened':
      case 'renewed':
        this.expiries.set(event.session, event.at + event.ttlMs);
        break;
      case 'queued': {
        const { token, nonce, request, session, locks } = event;
        const flags = { isGranted: false, wasFree: false, isOfThePast: false, isBroken: false };
        const named = { token, nonce, request, session, locks };
        const ticket: KnownTicket = { ...named, ...flags, removedAt: undefined };
        this.known.set(token, ticket);
        this.standing.set(token, ticket);
        break;
      }
      case 'removed': {
        const ticket = this.standing.get(event.token);
        if (ticket) ticket.removedAt = event.at;
        this.standing.delete(event.token);
        break;
      }
      case 'put back':
        this.#putBack(event);
        break;
      case 'broken': {
        const ticket = this.known.get(event.token);
        if (ticket) ticket.isBroken = true;
        break;
      }
      case 'closed gate':
        this.closedGates.add(event.lockName);
        break;
      case 'opened gate':
        this.closedGates.delete(event.lockName);
        break;
      case 'answered': {
        const ticket = event.token === undefined ? undefined : this.known.get(event.token);
        if (ticket && event.answer === 'granted') ticket.isGranted = true;
        break;
      }
      case 'held': {
        const ticket = this.known.get(event.token);
        if (ticket?.wasFree) ticket.isGranted = true;
        break;
      }
      default:
    }
    this.#noteWhoIsFree(event);
  }

  #noteWhoIsFree({ kind }: HistoryEvent): void {
    if (kind !== 'queued' && kind !== 'removed' && kind !== 'opened gate') return;
    for (const ticket of this.standing.values()) {
      if (ticket.wasFree || ticket.locks.some(({ name }) => this.closedGates.has(name))) continue;
      ticket.wasFree = !isBlocked(ticket, this.below(ticket));
    }
  }

  /** Takes over the tickets of an earlier state: some stand again, and all others are gone. */
  #putBack({ at, standing, expiries, closedGates }: HistoryEvent & { kind: 'put back' }): void {
    const stands = new Set(standing);
    this.standing.clear();
    for (const ticket of this.known.values()) {
      ticket.isOfThePast = !stands.has(ticket.token);
      if (ticket.isOfThePast) {
        ticket.removedAt ??= at;
        continue;
      }
      ticket.removedAt = undefined;
      this.standing.set(ticket.token, ticket);
    }
    for (const ticket of this.standing.values()) {
      // The store grants each request that nothing blocks.
      ticket.isGranted = !isBlocked(ticket, this.below(ticket));
      ticket.wasFree = false; // First there is a quarantine.
    }
    this.expiries.clear();
    for (const [session, until] of expiries) this.expiries.set(session, until);
    this.closedGates.clear();
    for (const lockName of closedGates) this.closedGates.add(lockName);
  }
}
