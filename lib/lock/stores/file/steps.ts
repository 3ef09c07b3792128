import { closeSync, openSync } from 'node:fs';
import { StoreUnavailableError } from '../../errors.ts';
import type { DueStep } from '../due-steps.ts';
import { DueSteps } from '../due-steps.ts';
import type { KeptState } from '../kept-state.ts';
import { nextState } from '../kept-state.ts';
import { TicketModel } from '../ticket-model.ts';
import type { StoreChange } from '../ticket-store.ts';
import { flock } from './flock.ts';
import type { StateFile } from './state-file.ts';

/** After this many batches, other processes get their turn. */
const batchesPerTurn = 4;

/**
 * Changes the state file, one process at a time. A turn costs a helper process and a batch costs a
 * write to the disk, so all due steps are taken together. A step's caller gets the outcome when it
 * is on disk; if the write fails, the outcome of the whole batch is unknown.
 */
export class Steps {
  readonly #file: StateFile;
  readonly #mutexPath: string;
  readonly #due = new DueSteps<TicketModel>(() => this.#turn(), 'the lock directory is closed');

  constructor(file: StateFile, mutexPath: string) {
    this.#file = file;
    this.#mutexPath = mutexPath;
  }

  /** Takes a step. `mustWrite`: writes the file even if the step changes nothing. */
  take<T>(step: (model: TicketModel) => T, options?: { readonly mustWrite: boolean }): Promise<T> {
    return this.#due.take(step, options);
  }

  /** Takes the steps that are due, and no later ones. */
  close(): Promise<void> {
    return this.#due.close();
  }

  async #turn(): Promise<void> {
    const mutex = openSync(this.#mutexPath, 'a', 0o600);
    try {
      if (!(await flock(mutex, 'exclusive', { wait: true }))) {
        throw new StoreUnavailableError(
          `another process keeps ${this.#mutexPath} locked; fuser -v names it`,
        );
      }
      for (let batch = 0; batch < batchesPerTurn && !this.#due.isEmpty; batch += 1) {
        await this.#batch(this.#due.next());
      }
    } finally {
      closeSync(mutex);
    }
  }

  async #batch(steps: readonly DueStep<TicketModel>[]): Promise<void> {
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
