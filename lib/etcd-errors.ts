/** What can go wrong with a call to etcd. */

/** The lease that a call names does not exist (any more). */
export class LeaseGoneError extends Error {
  override readonly name = 'LeaseGoneError';
}

/**
 * etcd has answered, and will answer the same until a person mends something: the user may not do
 * this, a password is wrong, there is no space left. Nothing was written.
 */
export class EtcdRefusedError extends Error {
  override readonly name = 'EtcdRefusedError';
}

/** Any other failure of a call. For a write: it may or may not have happened. */
export class EtcdCallError extends Error {
  override readonly name = 'EtcdCallError';
}

/** Names the failure of a call; one that is named already stays as it is. */
export function callError(error: unknown): Error {
  const isNamed = [LeaseGoneError, EtcdRefusedError, EtcdCallError].some((c) => error instanceof c);
  if (isNamed) return error as Error;
  const message = error instanceof Error ? error.message : String(error);
  if (/requested lease not found/.test(message)) {
    return new LeaseGoneError(message, { cause: error });
  }
  const advice = refusals.find(([pattern]) => pattern.test(message))?.[1];
  if (advice !== undefined) return new EtcdRefusedError(`${message}; ${advice}`, { cause: error });
  return new EtcdCallError(message, { cause: error });
}

/** What etcd says when it will not do something until a person has acted. */
const refusals: readonly (readonly [RegExp, string])[] = [
  [
    /permission denied/,
    'grant the user a role that may read and write everything below the prefix',
  ],
  [/invalid user ID or password/, 'check the user and the password'],
  [/user name is empty/, 'this etcd wants a user and a password'],
  [/authentication is not enabled/, 'leave the user out, or enable authentication'],
  [/database space exceeded/, 'compact and defragment it, then disarm its NOSPACE alarm'],
  [/corrupt cluster/, 'replace the members that its CORRUPT alarm names'],
  [/too many operations|request is too large/, 'raise its --max-txn-ops or --max-request-bytes'],
];
