import { checkDuration } from '../../engine/wait-limit.ts';
import type { Lock } from '../../lock.ts';
import type { Locks, TryLockOptions } from '../../locks.ts';
import { namePart } from '../../name-part.ts';
import type { Gate, LockRequest, Ticket } from '../../ticket.ts';
import { JobHeldError, JobUnlockRefusedError } from './job-errors.ts';
import type { JobIdentity, JobRun } from './job-run.ts';
import { isRunOf, jobDetail, jobRun } from './job-run.ts';

/** How long a run waits to replace an earlier one of its identity, once that was told to end. */
const replacePatienceMs = 10_000;

export interface JobLockOptions {
  /** Whose jobs these are. */
  readonly component: string;
  /** Which instance of the component this is. */
  readonly componentId: string;
}

export interface JobRequest {
  readonly job: string;
  /** Names this run. Must be unique to it among the runs of this instance. */
  readonly jobId: string;
  /** The longest the job may run: then its lock's signal aborts and the job is free again. */
  readonly maxDurationMs: number;
  readonly signal?: AbortSignal;
}

export interface JobStatus {
  readonly component: string;
  readonly job: string;
  /** Undefined when nobody runs it. */
  readonly run: JobRun | undefined;
  /** Who has disabled it, when and why; undefined when it is enabled. */
  readonly disabled: Gate | undefined;
}

/**
 * Background work of which one run is allowed in the whole cluster, and which an operator can
 * disable durably, e.g. for an upgrade. Nobody waits for a job: who comes second is told who was
 * first. A run declares itself how long it may take, and loses the job then; nobody takes it over
 * by a clock of his own.
 */
export class JobLock {
  readonly #locks: Locks;
  readonly #component: string;
  readonly #componentId: string;
  /** Those that this object has given out, by nonce, so that their holders are told at once. */
  readonly #held = new Map<string, Lock>();

  constructor(locks: Locks, { component, componentId }: JobLockOptions) {
    this.#locks = locks;
    this.#component = component;
    this.#componentId = componentId;
  }

  /**
   * Takes the job for one run. The same run may lock again, also from a new process after a crash:
   * it gets a new token, and the lock that it had is lost for whoever still has it. He may hear of
   * that a moment later than the new one is granted, so use guards or the token where that matters.
   * Rejects JobHeldError (another run has it), LockDisabledError, RangeError and, as `Locks.lock`
   * does, LockCancelledError, StoreUnavailableError and LockUnsupportedError; then this request
   * holds nothing, but an earlier lock of the same run may be gone. Of requests that the same run
   * makes at one time the last one wins, and the others reject LockLostError.
   */
  async lock({ job, jobId, maxDurationMs, signal }: JobRequest): Promise<Lock> {
    checkDuration('the longest duration of a job', maxDurationMs, 1);
    const run = this.#identity(job, jobId);
    const options = {
      kind: 'job',
      reason: 'Job',
      detail: jobDetail(run, maxDurationMs),
      maxHoldMs: maxDurationMs,
      ...(signal ? { signal } : {}),
    };
    const request = this.#request(job);
    for (;;) {
      const lock = await this.#locks.tryLock([request], options);
      if (lock) return this.#remember(lock);
      const [first] = await this.#locks.inspect(request.name);
      if (!first) continue; // It has been released in between.
      const holder = jobRun(first);
      if (!isRunOf(holder, run)) throw new JobHeldError(run, holder);
      return this.#remember(await this.#replace(run, request, options));
    }
  }

  /**
   * Ends a run from outside its lock handle, also in place of a process that has crashed; allowed
   * while the job is disabled. Unlocking a job that nobody holds is a success.
   * Rejects JobUnlockRefusedError when another run has it; StoreUnavailableError.
   */
  async unlock({ job, jobId }: Pick<JobRequest, 'job' | 'jobId'>): Promise<void> {
    const run = this.#identity(job, jobId);
    const tickets = await this.#locks.inspect(this.#request(job).name);
    const own = tickets.filter((ticket) => isRunOf(jobRun(ticket), run));
    const [first] = tickets;
    if (first && own.length === 0) throw new JobUnlockRefusedError(run, jobRun(first));
    await Promise.all(own.map((ticket) => this.#end(ticket)));
  }

  /** Lets nobody start the job, durably; a run goes on. Idempotent: the first `why` stays. */
  async disable(job: string, options: { readonly why?: string } = {}): Promise<void> {
    await this.#locks.disable(this.#request(job).name, options);
  }

  /** Lets the job be started again. Idempotent. */
  async enable(job: string): Promise<void> {
    await this.#locks.enable(this.#request(job).name);
  }

  /** Disables each of the jobs. When it rejects, some may be disabled; it can be repeated. */
  async disableAll(
    jobs: readonly string[],
    options: { readonly why?: string } = {},
  ): Promise<void> {
    await Promise.all(jobs.map((job) => this.disable(job, options)));
  }

  /** Enables each of the jobs. When it rejects, some may be enabled; it can be repeated. */
  async enableAll(jobs: readonly string[]): Promise<void> {
    await Promise.all(jobs.map((job) => this.enable(job)));
  }

  /** Who runs the job, and whether it is enabled, as the store has it now. */
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
   * Queues up behind the earlier lock of the same run before it ends that, so that nobody can take
   * the job in between.
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
