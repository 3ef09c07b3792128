import type { HistoryChange } from './history.ts';
import { isPermanent } from './permanent-session.ts';
import type { Gate, Ticket } from './ticket.ts';

/** The kind of failure. Callers branch on this or on the class, never on the text. */
export type LockErrorCode =
  | 'contended'
  | 'timeout'
  | 'cancelled'
  | 'disabled'
  | 'lost'
  | 'unavailable'
  | 'refused'
  | 'unsupported';

/** An expected failure of a lock operation. */
export abstract class LockError extends Error {
  abstract readonly code: LockErrorCode;
}

/** Another holds a lock, and the request does not wait. */
export class LockContendedError extends LockError {
  readonly code = 'contended';
  override readonly name = 'LockContendedError';
  readonly lockNames: readonly string[];
  readonly blockers: readonly Ticket[];
  constructor(lockNames: readonly string[], blockers: readonly Ticket[]) {
    super(`${lockNames.join(' + ')} is held: ${describeTickets(blockers)}`);
    this.lockNames = lockNames;
    this.blockers = blockers;
  }
}

/** The request waited for its whole time-out. Nothing is held and no ticket is left. */
export class LockTimeoutError extends LockError {
  readonly code = 'timeout';
  override readonly name = 'LockTimeoutError';
  readonly lockNames: readonly string[];
  readonly blockers: readonly Ticket[];
  readonly waitedMs: number;
  constructor(lockNames: readonly string[], blockers: readonly Ticket[], waitedMs: number) {
    super(
      `gave up waiting for ${lockNames.join(' + ')} after ${seconds(waitedMs)}: ${describeTickets(blockers)}`,
    );
    this.lockNames = lockNames;
    this.blockers = blockers;
    this.waitedMs = waitedMs;
  }
}

/** The caller's signal was aborted. Nothing is held and no ticket is left. */
export class LockCancelledError extends LockError {
  readonly code = 'cancelled';
  override readonly name = 'LockCancelledError';
}

/** The gate of a lock is closed. Nothing is held and no ticket is left. */
export class LockDisabledError extends LockError {
  readonly code = 'disabled';
  override readonly name = 'LockDisabledError';
  readonly gates: readonly Gate[];
  constructor(gates: readonly Gate[]) {
    super(`${firstOf(gates, describeGate)}; nobody gets the lock until it is enabled`);
    this.gates = gates;
  }
}

/** A ticket on a lock says another number of permits than the request. Nothing was changed. */
export class PermitsDifferError extends LockError {
  readonly code = 'refused';
  override readonly name = 'PermitsDifferError';
  readonly lockName: string;
  /** The number of permits that the request says. */
  readonly asked: number;
  /** The number of permits that the tickets of the lock say. */
  readonly standing: number;
  /** A ticket that says so: of a holder, or of a request that waits. */
  readonly ticket: Ticket;
  constructor(lockName: string, asked: number, ticket: Ticket) {
    const standing = permitsIn(ticket, lockName);
    super(
      `${lockName} has ${standing} ${standing === 1 ? 'permit' : 'permits'}, and this request says ${asked}: ` +
        `one is held or wanted by ${describeTickets([ticket])}; say ${standing}, or change the number while nobody ` +
        'holds or wants a permit: disable the lock, wait until its tickets are gone, and enable it',
    );
    this.lockName = lockName;
    this.asked = asked;
    this.standing = standing;
    this.ticket = ticket;
  }
}

/** The store can't do what the caller asks; see StoreProperties. Nothing was changed. */
export class LockUnsupportedError extends LockError {
  readonly code = 'unsupported';
  override readonly name = 'LockUnsupportedError';
}

/** The lock was held or waited for; it is not any more, or nobody can prove that it still is. */
export class LockLostError extends LockError {
  readonly code = 'lost';
  override readonly name: string = 'LockLostError';
}

/** The store has another history than when the lock was granted. This host held the lock until then. */
export class HistoryChangedError extends LockLostError {
  override readonly name = 'HistoryChangedError';
  readonly change: HistoryChange;
  constructor(change: HistoryChange) {
    super(`the store has another history: ${change.why}`);
    this.change = change;
  }
}

/** A lock can't be put back any more: the quarantine is over, or the history has changed again. */
export class ProofExpiredError extends LockLostError {
  override readonly name = 'ProofExpiredError';
}

/** The store can't be reached, or did not answer. For a write: it may or may not have happened. */
export class StoreUnavailableError extends LockError {
  readonly code = 'unavailable';
  override readonly name: string = 'StoreUnavailableError';
}

/**
 * The store refuses, and will refuse until a person repairs the cause: its disk is full, say, or it
 * denies access to this host. This call has written nothing.
 */
export class StoreRefusedError extends StoreUnavailableError {
  override readonly name = 'StoreRefusedError';
}

/** The lock may not be cleared. Nothing was changed. */
export class LockClearRefusedError extends LockError {
  readonly code = 'refused';
  override readonly name = 'LockClearRefusedError';
  /** The tickets that now hold or wait for the volume's locks. */
  readonly tickets: readonly Ticket[];
  private constructor(message: string, tickets: readonly Ticket[]) {
    super(message);
    this.tickets = tickets;
  }

  static notThere(
    volume: string,
    token: number,
    tickets: readonly Ticket[],
  ): LockClearRefusedError {
    const now = tickets.length === 0 ? 'nobody holds it now' : `now: ${describeTickets(tickets)}`;
    return new LockClearRefusedError(
      `volume ${volume} has no lock with token ${token}; ${now}`,
      tickets,
    );
  }

  static holderIsAlive(volume: string, ticket: Ticket): LockClearRefusedError {
    return new LockClearRefusedError(
      `the holder of volume ${volume} is alive: ${describeTickets([ticket])}; ` +
        'stop what uses the volume there, or clear the lock with --force',
      [ticket],
    );
  }
}

/** Thrown by a store that has ended the session. */
export class SessionGoneError extends Error {
  override readonly name = 'SessionGoneError';
}

/** Thrown by a store's `commit`: a guarding ticket no longer exists. */
export class GuardLostError extends Error {
  override readonly name = 'GuardLostError';
}

/** Thrown by a store's `commit`: a record is not at the expected revision. */
export class RecordConflictError extends Error {
  override readonly name = 'RecordConflictError';
  readonly key: string;
  constructor(key: string) {
    super(`another has changed record ${key}`);
    this.key = key;
  }
}

/** Describes the first tickets, each as `host n2 (Mount, since 2026-01-02T03:04:05Z, token 7)`. */
export function describeTickets(tickets: readonly Ticket[]): string {
  if (tickets.length === 0) return 'by an unknown holder';
  return firstOf(tickets, describeTicket);
}

/** A lock with permits has up to a thousand holders: a message names so many of them. */
const mostNamed = 5;

/** Describes the first items of a list for a message, and counts the others. */
export function firstOf<T>(all: readonly T[], describe: (item: T) => string): string {
  const named = all.slice(0, mostNamed).map(describe);
  const others = all.length - named.length;
  return [...named, ...(others > 0 ? [`and ${others} more`] : [])].join('; ');
}

function describeTicket({ holder, token, session }: Ticket): string {
  const detail = holder.detail === undefined ? '' : `, ${holder.detail}`;
  const end = isPermanent(session) ? ', until it is released or cleared' : '';
  return `host ${holder.host} (${holder.reason}, since ${holder.since}, token ${token}${detail}${end})`;
}

function permitsIn({ locks }: Ticket, lockName: string): number {
  const lock = locks.find(({ name }) => name === lockName);
  return lock?.mode === 'permit' ? lock.permits : 0;
}

function describeGate({ lockName, host, since, why }: Gate): string {
  return `${lockName} is disabled by host ${host} since ${since}${why === undefined ? '' : ` (${why})`}`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
