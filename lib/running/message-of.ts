/** Returns the message of an error, or what was thrown in its place as text. */
export function messageOf(error: unknown): string {
  // Not `instanceof`: under a test runner Node's own errors are of another realm's Error.
  return Error.isError(error) ? error.message : String(error);
}
