import { closeSync, openSync } from 'node:fs';
import { StoreUnavailableError } from '../../errors.ts';
import type { KeptState } from '../kept-state.ts';
import { nextState } from '../kept-state.ts';
import { settled } from '../settled.ts';
import { TicketModel } from '../ticket-model.ts';
import type { StoreChange } from '../ticket-store.ts';
import { flock } from './flock.ts';
import type { StateFile } from './state-file.ts';

/** After this many batches, other processes get their turn. */
const batchesPerTurn = 4;

interface Step {
  /** Takes the step; returns the function that reports the outcome once it is on disk. */
  readonly take: (model: TicketModel) => () => void;
  readonly fail: (error: unknown) => void;
  readonly mustWrite: boolean;
}

/**
 * Changes the state file, one process at a time. A turn costs a helper process and a batch costs a
 * write to the disk, so all due steps are taken together. A step's caller gets the outcome when it
 * is on disk; if the write fails, the outcome of the whole batch is unknown.
 */
export class Steps {
  readonly #file: StateFile;
  readonly #mutexPath: string;
  #due: Step[] = [];
  #working: Promise<void> | undefined;
  #isClosed = false;

  constructor(file: StateFile, mutexPath: string) {
    this.#file = file;
    this.#mutexPath = mutexPath;
  }

  /** Takes a step. `mustWrite`: writes the file even if the step changes nothing. */
  async take<T>(step: (model: TicketModel) => T, { mustWrite = false } = {}): Promise<T> {
    if (this.#isClosed) throw new StoreUnavailableError('the lock directory is closed');
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.#due.push({
      take: (model) => settled(() => step(model), resolve, reject),
      fail: reject,
      mustWrite,
    });
    this.#working ??= this.#work();
    return promise;
  }

  /** Takes the steps that are due, and no later ones. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#working;
  }

  async #work(): Promise<void> {
    // Steps of the same moment join the batch.
    await Promise.resolve();
    while (this.#due.length > 0) {
      try {
        await this.#turn();
      } catch (error) {
        for (const { fail } of this.#due.splice(0)) fail(error);
      }
    }
    this.#working = undefined;
  }

  async #turn(): Promise<void> {
    const mutex = openSync(this.#mutexPath, 'a', 0o600);
    try {
      if (!(await flock(mutex, 'exclusive', { wait: true }))) {
        throw new StoreUnavailableError(
          `another process keeps ${this.#mutexPath} locked; fuser -v names it`,
        );
      }
      for (let batch = 0; batch < batchesPerTurn && this.#due.length > 0; batch += 1) {
        await this.#batch(this.#due.splice(0));
      }
    } finally {
      closeSync(mutex);
    }
  }

  async #batch(steps: readonly Step[]): Promise<void> {
    try {
      const before = this.#file.current();
      const changes: StoreChange[] = [];
      const model = new TicketModel((change) => changes.push(change), before);
      const tell = steps.map(({ take }) => take(model));
      const after = nextState(before, model.state(), changes);
      if (hasChanged(before, after) || steps.some(({ mustWrite }) => mustWrite)) {
        await this.#file.replace(after);
        this.#file.onChange();
      }
      for (const each of tell) each();
    } catch (error) {
      for (const { fail } of steps) fail(error);
    }
  }
}

/** True if the state has changed. A session without tickets changes no revision. */
function hasChanged(before: KeptState, after: KeptState): boolean {
  if (before.revision !== after.revision) return true;
  return before.sessions.join() !== after.sessions.join();
}
