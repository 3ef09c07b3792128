import type { LockNames, LockRequest, NamedLock } from '../ticket.ts';
import { checkNamedLock } from './check-request.ts';
import { checkLockName } from './check-text.ts';

/** The most locks in one request: half of etcd's limit of operations per transaction. */
export const maxLocks = 64;

/** A permit takes as many operations as these locks: its step also counts. */
const locksPerPermit = 4;

/** The most permits of one lock: a waiter receives as many tickets. */
export const maxPermits = 1_000;

/**
 * Returns one request per name; exclusive wins. Throws RangeError for none, too many, a wrong name, or permits that
 * can't be.
 */
export function mergeRequests(locks: LockNames): LockRequest[] {
  const merged = new Map<string, LockRequest>();
  const requests = [locks].flat().map(toRequest);
  const alone = requests.filter(({ mode }) => mode === 'exclusive');
  const isAlone = new Set(alone.map(({ name }) => name));
  for (const lock of requests) {
    const before = merged.get(lock.name);
    if (before && !isAlone.has(lock.name)) checkSame(before, lock);
    if (before?.mode !== 'exclusive') merged.set(lock.name, lock);
  }
  if (merged.size === 0 || merged.size > maxLocks) {
    throw new RangeError(`a request takes 1 to ${maxLocks} locks, not ${merged.size}`);
  }
  const permits = [...merged.values()].filter(({ mode }) => mode === 'permit').length;
  if (permits > 0 && merged.size + permits * (locksPerPermit - 1) > maxLocks) {
    throw new RangeError(
      `a request takes up to ${maxLocks} locks, and one with permits counts as ${locksPerPermit}: ${merged.size} with ${permits} of those are too many`,
    );
  }
  return [...merged.values()];
}

function toRequest(named: NamedLock): LockRequest {
  if (typeof named === 'string') {
    checkLockName(named);
    return { name: named, mode: 'exclusive' };
  }
  checkNamedLock(named);
  const { name } = named;
  checkLockName(name);
  const permits = 'permits' in named ? named.permits : undefined;
  const mode = 'mode' in named && named.mode !== undefined ? named.mode : modeWith(permits);
  switch (mode) {
    case 'exclusive':
    case 'shared':
      if (permits === undefined) return { name, mode };
      throw new RangeError(`lock ${name} can't be ${mode} and have permits`);
    case 'permit':
      return { name, mode, permits: checkedPermits(name, permits) };
    default:
      // Reached in JavaScript only.
      throw new RangeError(
        `lock ${name} needs a mode, exclusive or shared, or permits: a number; ${mode === undefined ? 'it has none' : `${JSON.stringify(mode)} is none`}`,
      );
  }
}

function modeWith(permits: number | undefined): 'permit' | undefined {
  return permits === undefined ? undefined : 'permit';
}

function checkedPermits(name: string, permits: number | undefined): number {
  if (permits !== undefined && Number.isInteger(permits) && permits >= 1 && permits <= maxPermits) {
    return permits;
  }
  throw new RangeError(`lock ${name} can have 1 to ${maxPermits} permits, not ${permits}`);
}

/** Throws RangeError if one request takes a permit of a lock and something else of it. */
function checkSame(a: LockRequest, b: LockRequest): void {
  if (permitsOf(a) === permitsOf(b)) return;
  throw new RangeError(
    `one request can't name lock ${a.name} both ${describe(a)} and ${describe(b)}`,
  );
}

function permitsOf(lock: LockRequest): number | undefined {
  return lock.mode === 'permit' ? lock.permits : undefined;
}

function describe(lock: LockRequest): string {
  return lock.mode === 'permit' ? `with ${lock.permits} permits` : `as ${lock.mode}`;
}
