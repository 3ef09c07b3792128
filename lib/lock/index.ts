/** What users of the locks import; each store is imported from its own file. */
export type { Condition } from './condition.ts';
export * from './errors.ts';
export * from './jobs/job-errors.ts';
export type { JobLockOptions, JobRequest, JobStatus } from './jobs/job-lock.ts';
export { JobLock } from './jobs/job-lock.ts';
export type { JobIdentity, JobRun } from './jobs/job-run.ts';
export type { KeptLockState } from './kept-lock.ts';
export { KeptLock } from './kept-lock.ts';
export type { Lock } from './lock.ts';
export { LockDriver } from './lock-driver.ts';
export type { LockManagerOptions } from './lock-manager.ts';
export { LockManager } from './lock-manager.ts';
export type { LockService } from './lock-service.ts';
export type { LockOptions, Locks, TryLockOptions } from './locks.ts';
export type { NoopLocksOptions } from './noop-locks.ts';
export { noopLocks } from './noop-locks.ts';
export type { LockCounter, LockHistogram, LockLabels, LockObserver } from './observer.ts';
export type {
  HeldNumber,
  LockPoolOptions,
  NumberedLock,
  PoolChangeOptions,
} from './pool/lock-pool.ts';
export { LockPool } from './pool/lock-pool.ts';
export * from './pool/lock-pool-errors.ts';
export type { PoolConflict } from './pool/lock-pool-state.ts';
export type { RecordWrite, StoredRecord } from './stores/ticket-store.ts';
export type { Gate, Holder, LockRequest, Mode, Ticket } from './ticket.ts';
export * from './use.ts';
