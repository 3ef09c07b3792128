import type { Failure, FailureCode } from '../plugin/admin/api/long-work.ts';

/** The exit codes, which scripts may rely on. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  /** Another host or operation holds the volume. */
  held: 4,
  /** The daemon, or its store, can't be reached. */
  unavailable: 5,
} as const;

const byFailure: Readonly<Record<FailureCode, number>> = {
  invalid: exitCodes.usage,
  'not-found': exitCodes.notFound,
  exists: exitCodes.failed,
  'in-use': exitCodes.held,
  contended: exitCodes.held,
  timeout: exitCodes.held,
  refused: exitCodes.held,
  lost: exitCodes.failed,
  cancelled: exitCodes.failed,
  disabled: exitCodes.held,
  'not-still': exitCodes.failed,
  'command-failed': exitCodes.failed,
  unsupported: exitCodes.failed,
  unavailable: exitCodes.unavailable,
  internal: exitCodes.failed,
};

export function exitCodeOf({ code, holders }: Failure): number {
  // The lock could not be cleared because it no longer exists.
  if (code === 'refused' && !holders?.length) return exitCodes.notFound;
  return byFailure[code];
}
