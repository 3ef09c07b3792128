import type { LockRequest } from '../../../lib/lock/ticket.ts';
import type { HistoryEvent } from './history.ts';

/**
 * True when two requests conflict. The checker judges the engine, so it uses none of the engine's
 * code.
 */
export function areRivals(a: readonly LockRequest[], b: readonly LockRequest[]): boolean {
  return a.some(({ name, mode }) =>
    b.some((other) => other.name === name && !(mode === 'shared' && other.mode === 'shared')),
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

  /** Applies an event, after it was checked. */
  apply(event: HistoryEvent): void {
    switch (event.kind) {
      case 'opened':
      case 'renewed':
        this.expiries.set(event.session, event.at + event.ttlMs);
        break;
      case 'queued': {
        const { token, nonce, request, session, locks } = event;
        const flags = { isGranted: false, isBroken: false, removedAt: undefined };
        const ticket = { token, nonce, request, session, locks, ...flags };
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
      default:
    }
  }
}
