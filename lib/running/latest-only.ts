/**
 * Runs a task for callers who only need its latest result: one run at a time. Calls made during a
 * run share one more run, which starts when the current run has ended, so that each caller gets the
 * result of a run that began after its call. Whether a run succeeds does not affect the next.
 */
export class LatestOnly<T> {
  readonly #task: () => Promise<T>;
  #current: Promise<T> | undefined;
  #next: Promise<T> | undefined;

  constructor(task: () => Promise<T>) {
    this.#task = task;
  }

  /** Resolves or rejects as the run does that began after this call. */
  run(): Promise<T> {
    const current = this.#current;
    if (!current) return this.#start();
    this.#next ??= current
      .catch(() => {
        // The callers of that run handle its error.
      })
      .then(() => {
        this.#next = undefined;
        return this.run();
      });
    return this.#next;
  }

  /** Resolves when no run is in progress or waiting, however the runs ended. */
  async idle(): Promise<void> {
    for (;;) {
      const last = this.#next ?? this.#current;
      if (!last) return;
      await last.catch(() => {
        // The callers of that run handle its error.
      });
    }
  }

  #start(): Promise<T> {
    const outcome = Promise.withResolvers<T>();
    const run = outcome.promise.finally(() => {
      this.#current = undefined;
    });
    // Before the task begins: it may call `run` in its first step.
    this.#current = run;
    this.#task().then(outcome.resolve, outcome.reject);
    return run;
  }
}
