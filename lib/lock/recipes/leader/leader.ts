import { checkKind } from '../../check-options.ts';
import { LockLostError } from '../../errors.ts';
import type { Lock } from '../../lock.ts';
import type { LockOptions, Locks } from '../../locks.ts';
import { namePart } from '../../name-part.ts';

export type LeaderOptions = Pick<LockOptions, 'signal' | 'reason' | 'detail' | 'ttlMs' | 'onWait'>;

/** The time during which one process leads. */
export interface Term {
  /** Larger for each later term: a system that compares it refuses a leader of the past. */
  readonly number: number;
  /** Aborts when the leadership is lost, and when the caller's own signal aborts. */
  readonly signal: AbortSignal;
  /** The lock that the leader holds, for `guard` and `confirm`. */
  readonly lock: Lock;
}

/**
 * Waits until this process is the only leader of `name`, and runs `work`; the others wait in order.
 * The leadership ends with `work`, and its outcome is that of the call.
 *
 *     lock('leader/NAME') ─► work(term) ─► done: unlock, resolve or reject
 *            ▲                   │
 *            └── when it has ended, if the lock was lost meanwhile: what it returned does not count
 *
 * After a loss `work` has to end soon, at `term.signal`, because another leads; the error by which it
 * ends then is dropped if it is that of the loss, and rejected otherwise. Rejects as `Locks.lock`, e.g.
 * LockCancelledError at `signal`.
 */
export async function lead<T>(
  locks: Locks,
  name: string,
  work: (term: Term) => Promise<T>,
  options: LeaderOptions = {},
): Promise<T> {
  checkKind('the work of a leader', work, 'a function');
  const lockName = `leader/${namePart(name)}`;
  for (;;) {
    await using lock = await locks.lock(lockName, { kind: 'leader', reason: 'Leader', ...options });
    const signals = options.signal ? [lock.signal, options.signal] : [lock.signal];
    const term = { number: lock.token, signal: AbortSignal.any(signals), lock };
    try {
      const result = await work(term);
      if (!isLost(lock)) return result;
    } catch (error) {
      if (!isLost(lock) || !isOf(error, lock.signal.reason)) throw error;
    }
  }
}

function isLost(lock: Lock): boolean {
  try {
    lock.throwIfLost();
    return false;
  } catch {
    return true; // It throws nothing but the loss.
  }
}

/** Whether an error, or what caused it, is that of the loss. */
function isOf(error: unknown, loss: unknown): boolean {
  if (error === loss || error instanceof LockLostError) return true;
  return error instanceof Error && error.cause !== undefined && isOf(error.cause, loss);
}
