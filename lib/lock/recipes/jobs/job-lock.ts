import type { OptionKinds } from '../../check-options.ts';
import { checkOptions } from '../../check-options.ts';
import { checkDuration } from '../../engine/wait-limit.ts';
import type { Lock } from '../../lock.ts';
import type { Locks, TryLockOptions } from '../../locks.ts';
import { namePart } from '../../name-part.ts';
import type { Gate, LockRequest, Ticket } from '../../ticket.ts';
import { JobHeldError, JobUnlockRefusedError } from './job-errors.ts';
import type { JobIdentity, JobRun } from './job-run.ts';
import { isRunOf, jobDetail, jobRun } from './job-run.ts';

/** How long a run waits for the end of an earlier run of its identity, which it replaces. */
const replacePatienceMs = 10_000;

export interface JobLockOptions {
  /** The program that the jobs belong to. */
  readonly component: string;
  /** This instance of the component. */
  readonly componentId: string;
}

export interface JobRequest {
  readonly job: string;
  /** The id of this run, unique among the runs of this instance. */
  readonly jobId: string;
  /** The longest run: after it, the lock's signal aborts and the job is free again. */
  readonly maxDurationMs: number;
  readonly signal?: AbortSignal;
}

const runOptions = {
  job: 'a text',
  jobId: 'a text',
  maxDurationMs: 'a number',
  signal: 'an AbortSignal',
} as const satisfies OptionKinds<Required<JobRequest>>;

export interface JobStatus {
  readonly component: string;
  readonly job: string;
  /** Undefined if nobody runs the job. */
  readonly run: JobRun | undefined;
  /** The gate that disables the job; undefined if the job is enabled. */
  readonly disabled: Gate | undefined;
}

/**
 * Background jobs: one run at a time in the whole cluster, and an operator can disable a job
 * durably, e.g. for an upgrade. A request never waits for a job: the error names the run that holds
 * it. A run declares its longest duration, and loses the job then; no other run's clock decides.
 *
 *     lock({ job, jobId, maxDurationMs }) ─► Locks.lock('job/COMPONENT/JOB', time-out 0)
 *        held by the same identity: #replace queues, ends the old lock, then gets a new token
 *        held by another run:       JobHeldError
 */
export class JobLock {
  readonly #locks: Locks;
  readonly #component: string;
  readonly #componentId: string;
  /** The locks that this object has granted, by nonce, to end them at once. */
  readonly #held = new Map<string, Lock>();

  constructor(locks: Locks, { component, componentId }: JobLockOptions) {
    this.#locks = locks;
    this.#component = component;
    this.#componentId = componentId;
  }

  /**
   * Takes the job for one run. The same run may lock again, also from a new process after a crash:
   * it gets a new token, and its earlier lock is lost. The earlier holder may learn of the loss a
   * moment after the new grant, so use guards or the token where that matters.
   * Rejects JobHeldError (another run holds the job), LockDisabledError, RangeError and, as
   * `Locks.lock`, LockCancelledError, StoreUnavailableError and LockUnsupportedError; then this
   * request holds nothing, but an earlier lock of the same run may be gone. Of simultaneous
   * requests of one run, the last one wins, and the others reject LockLostError.
   */
  async lock(request: JobRequest): Promise<Lock> {
    checkOptions('a run of a job', request, runOptions);
    const { job, jobId, maxDurationMs, signal } = request;
    checkDuration('the longest duration of a job', maxDurationMs, 1);
    const run = this.#identity(job, jobId);
    const options = {
      kind: 'job',
      reason: 'Job',
      detail: jobDetail(run, maxDurationMs),
      maxHoldMs: maxDurationMs,
      ...(signal ? { signal } : {}),
    };
    const wanted = this.#request(job);
    for (;;) {
      const lock = await this.#locks.tryLock([wanted], options);
      if (lock) return this.#remember(lock);
      const [first] = await this.#locks.inspect(wanted.name);
      if (!first) continue; // The blocker has just released it.
      const holder = jobRun(first);
      if (!isRunOf(holder, run)) throw new JobHeldError(run, holder);
      return this.#remember(await this.#replace(run, wanted, options));
    }
  }

  /**
   * Ends a run without its lock handle, e.g. for a process that has crashed; also while the job is
   * disabled. Succeeds if nobody holds the job. Rejects JobUnlockRefusedError if another run holds
   * it, and StoreUnavailableError.
   */
  async unlock({ job, jobId }: Pick<JobRequest, 'job' | 'jobId'>): Promise<void> {
    const run = this.#identity(job, jobId);
    const tickets = await this.#locks.inspect(this.#request(job).name);
    const own = tickets.filter((ticket) => isRunOf(jobRun(ticket), run));
    const [first] = tickets;
    if (first && own.length === 0) throw new JobUnlockRefusedError(run, jobRun(first));
    await Promise.all(own.map((ticket) => this.#end(ticket)));
  }

  /** Prevents new runs, durably; a present run continues. Idempotent: the first `why` stays. */
  async disable(job: string, options: { readonly why?: string } = {}): Promise<void> {
    await this.#locks.disable(this.#request(job).name, options);
  }

  /** Allows new runs again. Idempotent. */
  async enable(job: string): Promise<void> {
    await this.#locks.enable(this.#request(job).name);
  }

  /** Disables each of the jobs. After a rejection some are disabled; repeat the call. */
  async disableAll(
    jobs: readonly string[],
    options: { readonly why?: string } = {},
  ): Promise<void> {
    await Promise.all(jobs.map((job) => this.disable(job, options)));
  }

  /** Enables each of the jobs. After a rejection some are enabled; repeat the call. */
  async enableAll(jobs: readonly string[]): Promise<void> {
    await Promise.all(jobs.map((job) => this.enable(job)));
  }

  /** Reads from the store who runs the job, and whether it is enabled. */
  async status(job: string): Promise<JobStatus> {
    const { name } = this.#request(job);
    const [[first], gates] = await Promise.all([this.#locks.inspect(name), this.#locks.gates()]);
    return {
      component: this.#component,
      job,
      run: first && jobRun(first),
      disabled: gates.find(({ lockName }) => lockName === name),
    };
  }

  /**
   * Queues behind the earlier lock of the same run before it ends that lock, so that no other run
   * can take the job in between.
   */
  async #replace(run: JobIdentity, request: LockRequest, options: TryLockOptions): Promise<Lock> {
    const failure = new AbortController();
    const signals = options.signal ? [options.signal, failure.signal] : [failure.signal];
    const onWait = (blockers: readonly Ticket[]) => {
      const other = blockers.map(jobRun).find((blocker) => !isRunOf(blocker, run));
      if (other) throw new JobHeldError(run, other);
      Promise.all(blockers.map((blocker) => this.#end(blocker))).catch((error) =>
        failure.abort(error),
      );
    };
    try {
      return await this.#locks.lock([request], {
        ...options,
        signal: AbortSignal.any(signals),
        timeoutMs: replacePatienceMs,
        onWait,
      });
    } catch (error) {
      throw failure.signal.aborted ? failure.signal.reason : error;
    }
  }

  async #end(ticket: Ticket): Promise<void> {
    const lock = this.#held.get(ticket.nonce);
    await (lock ? lock.unlock() : this.#locks.breakLock(ticket));
  }

  #remember(lock: Lock): Lock {
    const { nonce } = lock.ticket;
    this.#held.set(nonce, lock);
    lock.signal.addEventListener('abort', () => this.#held.delete(nonce), { once: true });
    if (lock.signal.aborted) this.#held.delete(nonce);
    return lock;
  }

  #identity(job: string, jobId: string): JobIdentity {
    return { component: this.#component, componentId: this.#componentId, job, jobId };
  }

  #request(job: string): LockRequest {
    return { name: `job/${namePart(this.#component)}/${namePart(job)}`, mode: 'exclusive' };
  }
}
