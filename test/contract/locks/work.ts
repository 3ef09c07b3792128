/** The work of a process that uses locks, for the tests. */
export interface Work {
  readonly store:
    | { readonly path: string }
    | { readonly endpoints: string[]; readonly prefix: string };
  readonly ttlMs: number;
  /**
   * `allocate`: allocates `count` numbers of a pool, one after another. `hold`: holds the numbered
   * lock 0 until it is killed. `job`: holds the job until it is killed.
   */
  readonly task: 'allocate' | 'hold' | 'job';
  readonly count: number;
}

export const poolOptions = { name: 'containers', capacity: 100 };
export const jobOptions = { component: 'snapshots', componentId: 'i1' };
export const run = { job: 'nightly', jobId: '7f', maxDurationMs: 60_000 };
