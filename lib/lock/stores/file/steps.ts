import type { DueStep } from '../due-steps.ts';
import { DueSteps } from '../due-steps.ts';
import type { KeptState } from '../kept-state.ts';
import { nextState } from '../kept-state.ts';
import { TicketModel } from '../ticket-model.ts';
import type { StoreChange } from '../ticket-store.ts';
import type { StateFile } from './state-file.ts';
import type { Turn, TurnLock } from './turn-lock.ts';

interface StepsOptions {
  readonly file: StateFile;
  readonly lock: Pick<TurnLock, 'take'>;
  /** Called first in each turn. */
  readonly prepare: () => Promise<void>;
}

/** After this many batches, other processes get their turn. */
const batchesPerTurn = 4;

/**
 * Changes the state file, one process at a time. A batch costs a write to the disk, so all due steps
 * are taken together. A step's caller gets the outcome when it is on disk; if the write fails, the
 * outcome of the whole batch is unknown.
 */
export class Steps {
  readonly #options: StepsOptions;
  readonly #due = new DueSteps<TicketModel>(() => this.#turn(), 'the lock directory is closed');

  constructor(options: StepsOptions) {
    this.#options = options;
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
    const { lock, prepare } = this.#options;
    using turn = await lock.take();
    await prepare();
    for (let batch = 0; batch < batchesPerTurn && !this.#due.isEmpty; batch += 1) {
      await this.#batch(this.#due.next(), turn);
    }
  }

  async #batch(steps: readonly DueStep<TicketModel>[], turn: Turn): Promise<void> {
    const { file } = this.#options;
    try {
      const before = file.current();
      const changes: StoreChange[] = [];
      const model = new TicketModel((change) => changes.push(change), before);
      const tell = steps.map(({ take }) => take(model));
      const after = nextState(before, model.state(), changes);
      if (hasChanged(before, after) || steps.some(({ mustWrite }) => mustWrite)) {
        turn.confirm();
        await file.replace(after);
        file.onChange();
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
