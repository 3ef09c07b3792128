import type { LockRequest } from '../../../lib/lock/ticket.ts';

/** The answer of the store about a ticket. */
export type Answer = 'granted' | 'waiting' | 'refused' | 'disabled' | 'gone';

/** The call during which a ticket was removed. */
export interface RemovalCause {
  readonly method: string;
  readonly host: string;
  /** The tokens of the tickets that the call named. */
  readonly tokens?: readonly number[];
  readonly nonce?: string;
  readonly session?: string;
}

/**
 * The `token` of an event is the number of a ticket: the token, and from a restore on a larger number
 * (`RecordedStore`).
 *
 * An event in the store (in the store's order) or on a host. A `request` is a call of `lock`; its
 * name is the `detail` of its ticket.
 */
export type Happening =
  // In the store.
  | { kind: 'opened' | 'renewed'; session: string; ttlMs: number }
  | {
      kind: 'queued';
      token: number;
      nonce: string;
      request: string;
      session: string;
      locks: readonly LockRequest[];
    }
  | { kind: 'removed'; token: number; cause: RemovalCause | undefined }
  | { kind: 'wrote'; token: number; lockName: string; value: string }
  | { kind: 'closed gate' | 'opened gate'; lockName: string }
  /** The store has an earlier state: its tickets, the ends of its sessions, its closed gates. */
  | {
      kind: 'put back';
      standing: readonly number[];
      expiries: readonly (readonly [string, number])[];
      closedGates: readonly string[];
    }
  | {
      kind: 'answered';
      method: 'enqueue' | 'tryEnqueue' | 'place' | 'stands';
      host: string;
      request: string;
      token: number | undefined;
      answer: Answer;
      blockers: readonly number[];
    }
  // On a host.
  | { kind: 'requested'; request: string; host: string; limits: RequestLimits }
  | { kind: 'cancelled'; request: string }
  | { kind: 'failed'; request: string; code: string; message: string; waitedMs: number }
  | {
      kind: 'held';
      request: string;
      host: string;
      token: number;
      locks: readonly LockRequest[];
      /** True when the holder learns of a loss by the signal; otherwise it has to check. */
      listens: boolean;
    }
  /** The holder learned that it no longer holds the lock: by the signal, or by a check. */
  | { kind: 'notified'; request: string; host: string }
  | { kind: 'checked'; request: string; host: string; passes: boolean }
  /** The holder no longer needs the lock; its ticket is being removed. */
  | { kind: 'released'; request: string; host: string }
  | { kind: 'write done' | 'write refused'; request: string; value: string; code?: string }
  // For a host, or for all of them.
  | { kind: 'broken'; token: number }
  | { kind: 'fault'; host: string; what: string }
  | { kind: 'paused' | 'resumed' | 'crashed' | 'started'; host: string }
  /** The daemon begins an orderly stop, which cancels its requests. */
  | { kind: 'stopping'; host: string }
  /** A host has resumed the session of another one, which ran on: both began with the same disk. */
  | { kind: 'taken over'; session: string; from: string; by: string }
  /** The end of all faults; every gate is open. */
  | { kind: 'quiet' }
  | { kind: 'ended'; leftovers: readonly string[] }
  | { kind: 'bug'; message: string };

export interface RequestLimits {
  readonly locks: readonly LockRequest[];
  readonly timeoutMs?: number;
  readonly maxHoldMs?: number;
}

/** An event with its virtual time; a history has them in order. */
export type HistoryEvent = Happening & { readonly at: number };

/** Prints a history, one line for each event. */
export function describeHistory(history: readonly HistoryEvent[]): string {
  return history
    .map(({ at, kind, ...rest }) => `${at.toFixed(2).padStart(9)} ${kind} ${JSON.stringify(rest)}`)
    .join('\n');
}
