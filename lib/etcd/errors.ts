import { messageOf } from '../running/message-of.ts';
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

/** The login was made before the users or roles of etcd were changed last. Nothing was done. */
export function isOutdatedLogin(error: unknown): boolean {
  return /revision of auth store is old/.test(messageOf(error));
}

/** Names the failure of a call; one that is named already stays as it is. */
export function callError(error: unknown): Error {
  const isNamed = [LeaseGoneError, EtcdRefusedError, EtcdCallError].some((c) => error instanceof c);
  if (isNamed) return error as Error;
  const message = messageOf(error);
  if (/requested lease not found/.test(message)) {
    return new LeaseGoneError(message, { cause: error });
  }
  const refusal = refusals.find(([pattern]) => pattern.test(message))?.[1];
  if (refusal !== undefined) return new EtcdRefusedError(refusal, { cause: error });
  return new EtcdCallError(message, { cause: error });
}

/** What etcd says when it will not do something until a person has acted, and what that may be. */
const refusals: readonly (readonly [RegExp, string])[] = [
  [
    /permission denied/,
    'etcd refuses: permission denied; grant the user a role that may read and write everything below the prefix',
  ],
  [
    /invalid user ID or password/,
    'etcd refuses: the user or the password is wrong; check the user and the password',
  ],
  [/user name is empty/, 'etcd refuses: no user; this etcd wants a user and a password'],
  [
    /authentication is not enabled/,
    'etcd refuses: it knows no users; leave the user out, or enable authentication',
  ],
  [
    /database space exceeded/,
    'etcd is out of space (NOSPACE alarm): compact and defragment it, then run "etcdctl alarm disarm"',
  ],
  [
    /corrupt cluster/,
    'etcd refuses: its members differ; replace those that its CORRUPT alarm names',
  ],
  [
    /too many operations/,
    'etcd refuses: too many operations in one transaction; raise its --max-txn-ops',
  ],
  [/request is too large/, 'etcd refuses: the request is too large; raise its --max-request-bytes'],
];
