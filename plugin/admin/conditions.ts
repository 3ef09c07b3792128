import type { Condition } from '../../lib/lock/condition.ts';
import type { Locks } from '../../lib/lock/locks.ts';
import type { Clock } from '../../lib/running/clock.ts';

/** Stores have limits of their own; this limit is for the person who waits for the answer. */
const patienceMs = 5_000;

/** Asks the store what is wrong with it. A store that answers too late is a condition itself. */
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
