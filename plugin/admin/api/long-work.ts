import type { HolderReply } from './locks.ts';

/*
 * Long work answers with one LongWorkEvent per line (NDJSON) as soon as there is something to report.
 * Work that fails before its first event is answered with a FailureReply and an HTTP status.
 */

/** The cause of a failure. `refused`: a lock was not cleared. `internal`: a bug. */
export type FailureCode =
  | 'invalid'
  | 'not-found'
  | 'exists'
  | 'in-use'
  | 'contended'
  | 'timeout'
  | 'refused'
  | 'lost'
  | 'cancelled'
  | 'disabled'
  | 'not-still'
  | 'command-failed'
  | 'unsupported'
  | 'unavailable'
  | 'internal';

export interface Failure {
  readonly code: FailureCode;
  readonly message: string;
  /** The holders that block the request, if they are known. */
  readonly holders?: readonly HolderReply[];
}

export interface FailureReply {
  readonly error: Failure;
}

/** How far a copy is. */
export interface ProgressReply {
  readonly doneBytes: number;
  readonly totalBytes: number;
  /** Files and directories; absent from an older daemon. */
  readonly doneFiles?: number;
  readonly totalFiles?: number;
}

/** One line of the answer to long work that succeeds. `T` is the result of the work. */
export type LongWorkStep<T extends object = object> =
  | { readonly event: 'waiting'; readonly holders: readonly HolderReply[] }
  | { readonly event: 'held'; readonly token: number }
  | ({ readonly event: 'progress' } & ProgressReply)
  | ({ readonly event: 'done' } & T);

/** Any line of the answer to long work; `error` is always the last line. */
export type LongWorkEvent<T extends object = object> =
  | LongWorkStep<T>
  | ({ readonly event: 'error' } & Failure);
