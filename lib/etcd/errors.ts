import { messageOf } from '../running/message-of.ts';

/** The lease that a call names has expired, was revoked, or never existed. */
export class LeaseGoneError extends Error {
  override readonly name = 'LeaseGoneError';
}

/**
 * etcd refused the call, and will refuse it until a person acts: the user lacks a permission, the
 * password is wrong, there is no space left. Nothing was written.
 */
export class EtcdRefusedError extends Error {
  override readonly name = 'EtcdRefusedError';
}

/** Any other failure of a call. A write may or may not have happened. */
export class EtcdCallError extends Error {
  override readonly name = 'EtcdCallError';
}

/** True when etcd refuses a login that is older than its last change of users or roles. */
export function isOutdatedLogin(error: unknown): boolean {
  return /revision of auth store is old/.test(messageOf(error));
}

/** True when etcd did not answer within the time limit of the call. */
export function isLate(error: unknown): boolean {
  return error instanceof EtcdCallError && /DEADLINE_EXCEEDED/.test(error.message);
}

/** True when etcd no longer has the revision that the call asked for. */
export function isCompacted(error: unknown): boolean {
  return error instanceof EtcdCallError && /revision has been compacted/.test(error.message);
}

/** gRPC ends its messages with this, also when there is nothing to note. */
const emptyNote = / Resolution note: *$/;

/** Turns the failure of a call into one of the three errors; returns such an error unchanged. */
export function callError(error: unknown): Error {
  const isNamed = [LeaseGoneError, EtcdRefusedError, EtcdCallError].some((c) => error instanceof c);
  if (isNamed) return error as Error;
  const message = messageOf(error).replace(emptyNote, '');
  if (/requested lease not found/.test(message)) {
    return new LeaseGoneError(message, { cause: error });
  }
  const refusal = refusals.find(([pattern]) => pattern.test(message))?.[1];
  if (refusal !== undefined) return new EtcdRefusedError(refusal, { cause: error });
  return new EtcdCallError(message, { cause: error });
}

/** The refusals of etcd that end only when a person acts, each with the advice for that person. */
const refusals: readonly (readonly [RegExp, string])[] = [
  [
    /permission denied/,
    'etcd refuses: permission denied; grant the user a role that may read and write everything below the prefix',
  ],
  [
    /invalid user ID or password/,
    'etcd refuses: the user or the password is wrong; check the user and the password',
  ],
  [/user name is empty/, 'etcd refuses: no user; this etcd requires a user and a password'],
  [
    /authentication is not enabled/,
    'etcd refuses: its authentication is off; leave the user out, or enable authentication',
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
  [
    // The second is gRPC's, for a request that etcd does not even read.
    /request is too large|grpc: received message larger than max/,
    'etcd refuses: the request is too large; raise its --max-request-bytes',
  ],
];
