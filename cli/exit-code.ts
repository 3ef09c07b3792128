import type { Failure, FailureCode } from '../plugin/admin/api.ts';

/** What scripts can tell apart. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  /** Somebody else holds it. */
  held: 4,
  /** The daemon, or the store behind it, can't be reached. */
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
  unsupported: exitCodes.failed,
  unavailable: exitCodes.unavailable,
  internal: exitCodes.failed,
};

export function exitCodeOf({ code, holders }: Failure): number {
  // A lock that could not be cleared because it is no more.
  if (code === 'refused' && !holders?.length) return exitCodes.notFound;
  return byFailure[code];
}
