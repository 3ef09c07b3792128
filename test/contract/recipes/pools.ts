import type { Locks } from '../../../lib/lock/locks.ts';
import { LockPool } from '../../../lib/lock/recipes/pool/lock-pool.ts';
import type { ManagerBenchOf } from '../bench/manager-bench.ts';

/** The reason that the suite gives for its locks. */
export const reason = 'Start';

/** Returns a function that opens one pool on three hosts. */
export function poolsOf(benchOf: ManagerBenchOf) {
  return (capacity: number, name = 'containers') => {
    const [n1, n2, n3] = benchOf().managers;
    const pool = (by: Locks) => new LockPool(by, { name, capacity });
    return [pool(n1), pool(n2), pool(n3)] as const;
  };
}
