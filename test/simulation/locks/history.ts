import type { LockRequest } from '../../../lib/lock/ticket.ts';

/** What the store answered about a ticket. */
export type Answer = 'granted' | 'waiting' | 'refused' | 'disabled' | 'gone';

/** Why a ticket was removed, as far as the call tells during which it happened. */
export interface RemovalCause {
  readonly method: string;
  readonly host: string;
  /** The tokens, or sessions, that the call was meant for. */
  readonly tokens?: readonly number[];
  readonly nonce?: string;
  readonly session?: string;
}

/**
 * Something that happened in the store, in the store's order, or on a host. A `request` is a call
 * of `lock`, named by its `detail` in the ticket.
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
  | { kind: 'asked'; request: string; host: string; limits: RequestLimits }
  | { kind: 'cancelled'; request: string }
  | { kind: 'failed'; request: string; code: string; message: string; waitedMs: number }
  | {
      kind: 'held';
      request: string;
      host: string;
      token: number;
      locks: readonly LockRequest[];
      /** It hears of its loss by the signal; else it has to look. */
      listens: boolean;
    }
  /** The holder has been told that it holds no more: by the signal, or because it asked. */
  | { kind: 'told'; request: string; host: string }
  | { kind: 'looked'; request: string; host: string; passes: boolean }
  /** The holder has no more use for the lock; its ticket is being removed. */
  | { kind: 'left'; request: string; host: string }
  | { kind: 'write done' | 'write refused'; request: string; value: string; code?: string }
  // To a host, or to everybody.
  | { kind: 'broken'; token: number }
  | { kind: 'fault'; host: string; what: string }
  | { kind: 'paused' | 'resumed' | 'crashed' | 'started'; host: string }
  /** It is told to; its requests are then cancelled. */
  | { kind: 'stopping'; host: string }
  /** From here on there are no more faults, and no gate is closed. */
  | { kind: 'quiet' }
  | { kind: 'ended'; leftovers: readonly string[] }
  | { kind: 'bug'; message: string };

export interface RequestLimits {
  readonly locks: readonly LockRequest[];
  readonly timeoutMs?: number;
  readonly maxHoldMs?: number;
}

/** In the order in which they happened; `at` is virtual time. */
export type HistoryEvent = Happening & { readonly at: number };

/** One line for each event. */
export function describeHistory(history: readonly HistoryEvent[]): string {
  return history
    .map(({ at, kind, ...rest }) => `${at.toFixed(2).padStart(9)} ${kind} ${JSON.stringify(rest)}`)
    .join('\n');
}
