/**
 * Returns true if `error` is a system error with one of these codes, such as `ENOENT`. Tests the
 * code, not the class: under a test runner Node's own errors are of another realm's Error.
 */
export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return (
    typeof error === 'object' &&
    error !== null &&
    'code' in error &&
    codes.includes(String(error.code))
  );
}
