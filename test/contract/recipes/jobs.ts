import type { Locks } from '../../../lib/lock/locks.ts';
import { JobLock } from '../../../lib/lock/recipes/jobs/job-lock.ts';
import type { ManagerBenchOf } from '../bench/manager-bench.ts';

export const component = 'snapshots';
export const run = { job: 'nightly', jobId: '7f', maxDurationMs: 60_000 };

/** The name of the job's lock. */
export const name = 'job/snapshots/nightly';

export function instance(locks: Locks, componentId: string): JobLock {
  return new JobLock(locks, { component, componentId });
}

/** Returns a function that gives three instances of one component, on three hosts. */
export function instancesOf(benchOf: ManagerBenchOf) {
  return () => {
    const [n1, n2, n3] = benchOf().managers;
    return [instance(n1, 'i1'), instance(n2, 'i2'), instance(n3, 'i3')] as const;
  };
}
