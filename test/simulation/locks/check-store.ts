import type { HistoryEvent, RemovalCause } from './history.ts';
import type { KnownTicket, StandingTickets } from './standing-tickets.ts';
import { areRivals, fullLocks } from './standing-tickets.ts';

/** How late the store may drop a session without renewals. */
const expirySlackMs = 1_000;

type Judge = (event: HistoryEvent, store: StandingTickets) => string[];

/** The law of grants: at each revision at most one of several rivals, and in queue order. */
export const judgeGrant: Judge = (event, store) => {
  if (event.kind !== 'answered' || event.answer !== 'granted' || event.token === undefined) {
    return [];
  }
  const ticket = store.standing.get(event.token);
  if (!ticket) return [`token ${event.token} was granted and is not in the store`];
  const found: string[] = [];
  for (const other of store.standing.values()) {
    if (other === ticket || !areRivals(ticket.locks, other.locks)) continue;
    if (other.isGranted) {
      found.push(`exclusion: ${name(ticket)} was granted while ${name(other)} holds`);
    } else if (other.token < ticket.token) {
      found.push(`first come: ${name(ticket)} was granted before ${name(other)}`);
    }
  }
  const others = [...store.standing.values()].filter((other) => other !== ticket);
  for (const lock of fullLocks(
    ticket.locks,
    others.filter(({ isGranted }) => isGranted),
  )) {
    found.push(`exclusion: ${name(ticket)} was granted, and ${lock} had no permit left`);
  }
  for (const lock of fullLocks(ticket.locks, store.below(ticket))) {
    found.push(
      `first come: ${name(ticket)} was granted before all who asked for a permit of ${lock}`,
    );
  }
  if (ticket.isGranted) return found;
  for (const other of store.known.values()) {
    if (!other.isGranted || other.isOfThePast || other.token < ticket.token) continue;
    if (areRivals(ticket.locks, other.locks)) {
      found.push(`token order: ${name(ticket)} was granted after ${name(other)}`);
    }
  }
  for (const lock of ticket.locks) {
    if (!store.closedGates.has(lock.name)) continue;
    found.push(`gate: ${name(ticket)} was granted although ${lock.name} is disabled`);
  }
  return found;
};

/** The law of effects: only the holder of a lock writes. */
export const judgeWrite: Judge = (event, store) => {
  if (event.kind !== 'wrote') return [];
  const writer = store.known.get(event.token);
  if (!writer) return [`effect: ${event.value} was written by nobody known`];
  const found: string[] = [];
  if (writer.removedAt !== undefined)
    found.push(`effect: ${name(writer)} wrote after its ticket was gone`);
  if (!writer.isGranted) found.push(`effect: ${name(writer)} wrote and was never granted`);
  for (const other of store.known.values()) {
    if (!other.isGranted || other.token <= writer.token) continue;
    if (other.locks.some((lock) => lock.name === event.lockName)) {
      found.push(`effect: ${name(writer)} wrote after ${name(other)} was granted`);
    }
  }
  return found;
};

/** The law of removals: a ticket is removed by its owner, by an operator, or with its session. */
export const judgeRemoval: Judge = (event, store) => {
  if (event.kind !== 'removed') return [];
  const ticket = store.standing.get(event.token);
  if (!ticket) return [`token ${event.token} was removed and was not in the store`];
  const isOverdue = (store.expiries.get(ticket.session) ?? 0) <= event.at;
  if (isOverdue || isMeant(ticket, event.cause)) return [];
  return [`removal: ${name(ticket)} was removed by ${JSON.stringify(event.cause)}`];
};

/** The law of expiry: the tickets of a dead host are removed in time. */
export const judgeExpiry: Judge = ({ at, kind }, store) => {
  if (kind !== 'answered' && kind !== 'ended') return [];
  return [...store.standing.values()]
    .filter(({ session }) => (store.expiries.get(session) ?? 0) + expirySlackMs < at)
    .map((ticket) => `expiry: ${name(ticket)} outlived its session`);
};

function isMeant(ticket: KnownTicket, cause: RemovalCause | undefined): boolean {
  if (!cause) return false;
  if (cause.method === 'closeSession') return cause.session === ticket.session;
  if (cause.tokens) return cause.tokens.includes(ticket.token);
  return cause.nonce === ticket.nonce;
}

export function name({ token, request }: KnownTicket): string {
  return `token ${token} of ${request}`;
}
