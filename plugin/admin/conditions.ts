import type { Condition } from '../../lib/lock/condition.ts';
import type { Locks } from '../../lib/lock/locks.ts';

/** Stores have limits of their own; this one is for the person who waits for the answer. */
const patienceMs = 5_000;

/** What is wrong with the locks. A store that takes too long to say so is a condition itself. */
export async function conditionsOf(
  locks: Pick<Locks, 'health'>,
  limitMs = patienceMs,
): Promise<readonly Condition[]> {
  const { promise: late, resolve } = Promise.withResolvers<readonly Condition[]>();
  const message = `the store did not say within ${limitMs / 1000} s how it is`;
  const limit = setTimeout(() => resolve([{ severity: 'error', message }]), limitMs);
  try {
    return await Promise.race([locks.health(), late]);
  } finally {
    clearTimeout(limit);
  }
}
