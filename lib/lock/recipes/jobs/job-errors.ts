import { LockError } from '../../errors.ts';
import type { JobIdentity, JobRun } from './job-run.ts';
import { describeRun } from './job-run.ts';

/** Another run holds the job. Nothing was changed. */
export class JobHeldError extends LockError {
  readonly code = 'contended';
  override readonly name = 'JobHeldError';
  readonly requester: JobIdentity;
  readonly holder: JobRun;
  constructor(requester: JobIdentity, holder: JobRun) {
    super(`${describeRequest(requester)} can't start: the job is held by ${describeRun(holder)}`);
    this.requester = requester;
    this.holder = holder;
  }
}

/** Another run holds the job, so this run may not unlock it. Nothing was changed. */
export class JobUnlockRefusedError extends LockError {
  readonly code = 'refused';
  override readonly name = 'JobUnlockRefusedError';
  readonly requester: JobIdentity;
  readonly holder: JobRun;
  constructor(requester: JobIdentity, holder: JobRun) {
    super(`${describeRequest(requester)} can't unlock it: it is held by ${describeRun(holder)}`);
    this.requester = requester;
    this.holder = holder;
  }
}

function describeRequest({ component, componentId, job, jobId }: JobIdentity): string {
  return `job ${job} of ${component}: instance ${componentId} (run ${jobId})`;
}
