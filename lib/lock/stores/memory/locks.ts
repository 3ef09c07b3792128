import { hostname } from 'node:os';
import type { Clock } from '../../../running/clock.ts';
import { LockManager } from '../../lock-manager.ts';
import type { Locks } from '../../locks.ts';
import { memoryStore } from './store.ts';

/** No other process competes for these locks, so the TTL is the longest that a timer can run. */
const ttlMs = 2_147_483_000;

export interface MemoryLocksOptions {
  /** The host's name, for people; the machine's when left out. */
  readonly host?: string;
  readonly clock?: Clock;
}

/** Returns locks within this process, for a single process and for tests of callers. */
export function memoryLocks({ host = hostname(), clock }: MemoryLocksOptions = {}): Locks {
  const given = clock ? { clock } : {};
  return new LockManager({ store: memoryStore(given), host, owner: host, ttlMs, ...given });
}
