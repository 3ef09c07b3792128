/** The work of a process that uses locks, for the tests. */
export interface Work {
  readonly store:
    | { readonly path: string }
    | { readonly endpoints: string[]; readonly prefix: string };
  readonly ttlMs: number;
  /**
   * `allocate`: allocates `count` numbers of a pool, one after another. `hold`: holds the numbered
   * lock 0 until it is killed. `job`: holds the job until it is killed. `keep`: holds the lock `kept` in a session
   * that a later process may resume; answers again when the lock is lost, and when it has ended as one that removes
   * what it has left.
   */
  readonly task: 'allocate' | 'hold' | 'job' | 'keep';
  readonly count: number;
}

export const poolOptions = { name: 'containers', capacity: 100 };
export const jobOptions = { component: 'snapshots', componentId: 'i1' };
export const run = { job: 'nightly', jobId: '7f', maxDurationMs: 60_000 };
