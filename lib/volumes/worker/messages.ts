import { hasCode } from '../../linux/error-code.ts';
import { messageOf } from '../../running/message-of.ts';
import type { DriverContext, Progress } from '../drivers/driver.ts';
import {
  DisabledError,
  ExistsError,
  InUseError,
  InvalidRequestError,
  NotFoundError,
  PoolMarkError,
  UnavailableError,
} from '../errors.ts';

/** The name of a driver's method; `storage.NAME` for one that lists its storage, `pool.NAME` for its pool's. */
export type MethodName = string;

/** A message of the daemon to a worker. */
export type Order =
  | {
      readonly is: 'call';
      readonly id: number;
      readonly driver: string;
      readonly method: MethodName;
      /** The arguments before the context. */
      readonly args: readonly unknown[];
      /** Absent: the method takes no context. */
      readonly context?: SentContext;
    }
  | { readonly is: 'abort'; readonly id: number; readonly reason: string }
  /** The answer to `confirm`; `failure`: the lock is not held, or the store did not say. */
  | { readonly is: 'confirmed'; readonly id: number; readonly failure?: Failure | undefined };

/** The context of a call without what can't cross: its signal and its functions. */
export type SentContext = Omit<DriverContext, 'signal' | 'onProgress' | 'lock'> & {
  readonly wantsProgress: boolean;
  /** The token of the caller's lock. */
  readonly token?: number | undefined;
};

/** A message of a worker to the daemon. */
export type Report =
  | { readonly is: 'ready' }
  /** The process does no work, and ends. */
  | { readonly is: 'refusal'; readonly message: string }
  | { readonly is: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly is: 'failure'; readonly id: number; readonly failure: Failure }
  | { readonly is: 'progress'; readonly id: number; readonly progress: Progress }
  | { readonly is: 'moved'; readonly id: number }
  /** The driver asks whether the caller's lock is still held, and waits for `confirmed`. */
  | { readonly is: 'confirm'; readonly id: number }
  | { readonly is: 'kept'; readonly volume: string; readonly message: string };

/** An error, as it crosses. */
export interface Failure {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  /** The code of a system error, such as `ENOSPC`. */
  readonly code: string | undefined;
  readonly cause: string | undefined;
  /** True: the call ended with the reason of its own signal. */
  readonly isAbort: boolean;
}

export function failureOf(error: unknown, signal: AbortSignal): Failure {
  const known = Error.isError(error) ? error : new Error(String(error));
  const hasText = 'code' in known && typeof known.code === 'string';
  return {
    name: known.name,
    message: known.message,
    stack: known.stack,
    code: hasText ? String(known.code) : undefined,
    cause: known.cause === undefined ? undefined : messageOf(known.cause),
    isAbort: signal.aborted && (error === signal.reason || hasCode(error, 'ABORT_ERR')),
  };
}

const volumeErrors = {
  DisabledError,
  ExistsError,
  InUseError,
  InvalidRequestError,
  NotFoundError,
  PoolMarkError,
  UnavailableError,
};

/** Returns the error that crossed: of the same class if a caller can test for the class. */
export function errorOf({ name, message, stack, code, cause }: Failure): Error {
  const options = cause === undefined ? {} : { cause };
  const found = Object.entries(volumeErrors).find(([known]) => known === name);
  if (found) return new found[1](message, options);
  const error = new Error(message, options);
  error.name = name;
  if (stack !== undefined) error.stack = stack;
  return code === undefined ? error : Object.assign(error, { code });
}
