/** The public interface of the locks. Each store is imported from its own file. */
export type { Condition } from './condition.ts';
export * from './errors.ts';
export type { Lock } from './lock.ts';
export { LockManager } from './lock-manager.ts';
export type { LockOptions, Locks, TryLockOptions, WorkUnderLock } from './locks.ts';
export type { LockManagerOptions } from './manager-options.ts';
export type { LockCounter, LockHistogram, LockLabels, LockObserver } from './observer.ts';
export type { Etcd3Client } from './open/etcd-settings.ts';
export { MissingPackageError } from './open/missing-package.ts';
export type { OpenedLocks, OpenLocksOptions } from './open/open-locks.ts';
export { openLocks } from './open/open-locks.ts';
export type { LockPlace } from './open/open-store.ts';
export * from './recipes/jobs/job-errors.ts';
export type { JobLockOptions, JobRequest, JobStatus } from './recipes/jobs/job-lock.ts';
export { JobLock } from './recipes/jobs/job-lock.ts';
export type { JobIdentity, JobRun } from './recipes/jobs/job-run.ts';
export type { LeaderOptions, Term } from './recipes/leader/leader.ts';
export { lead } from './recipes/leader/leader.ts';
export type { NoopLocksOptions } from './recipes/noop/noop-locks.ts';
export { noopLocks } from './recipes/noop/noop-locks.ts';
export type { LockPoolOptions } from './recipes/pool/lock-pool.ts';
export { LockPool } from './recipes/pool/lock-pool.ts';
export * from './recipes/pool/lock-pool-errors.ts';
export { NumberLease } from './recipes/pool/lock-pool-leases.ts';
export type { PoolConflict } from './recipes/pool/lock-pool-state.ts';
export type {
  AllocateOptions,
  FreeOptions,
  HeldNumber,
  LeasedNumber,
  NumberedLock,
  PoolChangeOptions,
} from './recipes/pool/numbered-lock.ts';
export type { RecordWrite, StoredRecord, TicketStore } from './stores/ticket-store.ts';
export type {
  Gate,
  Holder,
  LockNames,
  LockRequest,
  Mode,
  NamedLock,
  PermitRequest,
  PlainLockRequest,
  Ticket,
} from './ticket.ts';
export type { LockSpan, LockTracer, SpanAttributes } from './tracer.ts';
export type { KeptLockState } from './use/kept-lock.ts';
export { KeptLock } from './use/kept-lock.ts';
export { LockDriver } from './use/lock-driver.ts';
export type { LockService } from './use/lock-service.ts';
export * from './use/use.ts';
