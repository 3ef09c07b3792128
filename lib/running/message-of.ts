import { types } from 'node:util';

/** Returns the message of an error, or what was thrown in its place as text. */
export function messageOf(error: unknown): string {
  // Not `instanceof`: under a test runner Node's own errors are of another realm's Error.
  return types.isNativeError(error) ? error.message : String(error);
}
