import type { Condition } from '../../lib/lock/condition.ts';
import type { Locks } from '../../lib/lock/locks.ts';
import type { Clock } from '../../lib/running/clock.ts';

/** Stores have limits of their own; this one is for the person who waits for the answer. */
const patienceMs = 5_000;

/** What is wrong with the locks. A store that takes too long to say so is a condition itself. */
export async function conditionsOf(
  locks: Pick<Locks, 'health'>,
  clock: Clock,
  limitMs = patienceMs,
): Promise<readonly Condition[]> {
  const answered = new AbortController();
  const late = clock.sleep(limitMs, answered.signal).then((): readonly Condition[] => {
    const message = `the store did not answer the health check within ${limitMs / 1000} s`;
    return [{ severity: 'error', message }];
  });
  try {
    return await Promise.race([locks.health(), late]);
  } finally {
    answered.abort();
  }
}
