import { hostname } from 'node:os';
import type { Clock } from '../../../running/clock.ts';
import { LockManager } from '../../lock-manager.ts';
import type { Locks } from '../../locks.ts';
import { memoryStore } from './store.ts';

/** Nobody but this process could want its locks back, so they stand as long as a timer can run. */
const ttlMs = 2_147_483_000;

export interface MemoryLocksOptions {
  /** The name people know this host by; the machine's when left out. */
  readonly host?: string;
  readonly clock?: Clock;
}

/** All that locks do, within this process: for a single process, and for tests of what uses them. */
export function memoryLocks({ host = hostname(), clock }: MemoryLocksOptions = {}): Locks {
  const given = clock ? { clock } : {};
  return new LockManager({ store: memoryStore(given), host, owner: host, ttlMs, ...given });
}
