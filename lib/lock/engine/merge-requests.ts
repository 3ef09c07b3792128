import type { LockNames, LockRequest } from '../ticket.ts';
import { checkLockName } from './check-text.ts';

/** The most locks in one request: half of etcd's limit of operations per transaction. */
export const maxLocks = 64;

/** Returns one request per name; exclusive wins. Throws RangeError for none, too many, or a wrong name. */
export function mergeRequests(locks: LockNames): LockRequest[] {
  const merged = new Map<string, LockRequest>();
  for (const named of [locks].flat()) {
    const lock = typeof named === 'string' ? ({ name: named, mode: 'exclusive' } as const) : named;
    if (merged.get(lock.name)?.mode !== 'exclusive') merged.set(lock.name, lock);
  }
  if (merged.size === 0 || merged.size > maxLocks) {
    throw new RangeError(`a request takes 1 to ${maxLocks} locks, not ${merged.size}`);
  }
  for (const name of merged.keys()) checkLockName(name);
  return [...merged.values()];
}
