import { LockError } from '../../../lib/lock/errors.ts';

export function codeOf(error: unknown): string {
  if (error instanceof LockError) return error.code;
  return Error.isError(error) ? error.name : typeof error;
}

export function textOf(error: unknown): string {
  return Error.isError(error) ? (error.stack ?? error.message) : String(error);
}
