import { StoreUnavailableError } from '../../errors.ts';
import type { DueStep } from '../due-steps.ts';
import { DueSteps } from '../due-steps.ts';
import { changesKept, nextState } from '../kept-state.ts';
import { TicketModel } from '../ticket-model.ts';
import type { StoreChange } from '../ticket-store.ts';
import type { StateObject, Version } from './state-object.ts';
import { TooLargeError } from './state-object.ts';
import type { StoredState } from './stored-state.ts';
import { revisionsPerWrite } from './stored-state.ts';
import type { Surroundings } from './surroundings.ts';

/** How long a batch waits for the watch to report the change that it collided with. */
const conflictMs = 50;
/** The longest pause after that, of which a random part is taken, so that clients take turns. */
const jitterMs = 10;
/** How long a batch is repeated because others change the object. */
const patienceMs = 10_000;

/** The state that a step reads and changes. */
export interface Draft {
  readonly model: TicketModel;
  readonly incarnations: Map<string, string>;
}

/**
 * Changes the state, with all steps that are due in one write. A batch that finds the object changed
 * by another client takes its steps again on the new state, for 10 s at most: then nothing was written,
 * and each step rejects. If the answer to a write is lost, the outcome of the whole batch is unknown.
 */
export class Steps {
  readonly #object: StateObject;
  readonly #surroundings: Surroundings;
  readonly #due = new DueSteps<Draft>(() => this.#write(), 'the Kubernetes store is closed');

  constructor(object: StateObject, surroundings: Surroundings) {
    this.#object = object;
    this.#surroundings = surroundings;
  }

  take<T>(step: (draft: Draft) => T): Promise<T> {
    return this.#due.take(step);
  }

  /** Takes the steps that are due, and no later ones. */
  close(): Promise<void> {
    return this.#due.close();
  }

  async #write(): Promise<void> {
    // A step makes one revision at most.
    const steps = this.#due.next(revisionsPerWrite);
    try {
      await this.#batch(steps);
    } catch (error) {
      await this.#failed(steps, error);
    }
  }

  async #failed(steps: readonly DueStep<Draft>[], error: unknown): Promise<void> {
    // Of a batch that is too large, those steps that fit are taken.
    if (!(error instanceof TooLargeError) || steps.length === 1) {
      for (const { fail } of steps) fail(error);
      return;
    }
    for (const step of steps) await this.#batch([step]).catch(step.fail);
  }

  async #batch(steps: readonly DueStep<Draft>[]): Promise<void> {
    let before = this.#object.known;
    let isLast = false;
    const { now, sleep, random } = this.#surroundings;
    const giveUpAt = now() + patienceMs;
    for (;;) {
      if (!before) {
        before = await this.#object.read();
        isLast = true;
      }
      const { tell, after, isChanged } = taken(steps, before);
      if (isChanged && (await this.#object.replace(before, after))) isLast = true;
      else if (isChanged) {
        if (now() > giveUpAt) throw new StoreUnavailableError(this.#object.busy);
        before = await this.#object.later(before, conflictMs);
        isLast = false;
        await sleep(random() * jitterMs);
        continue;
      }
      if (isLast) {
        for (const each of tell) each();
        return;
      }
      // Nothing is written, so nothing shows that this was the last version.
      before = undefined;
    }
  }
}

/** Takes the steps on a version of the state. */
function taken(
  steps: readonly DueStep<Draft>[],
  { state }: Version,
): { tell: (() => void)[]; after: StoredState; isChanged: boolean } {
  const changes: StoreChange[] = [];
  const model = new TicketModel((change) => changes.push(change), state);
  const incarnations = new Map(Object.entries(state.incarnations));
  const tell = steps.map(({ take }) => take({ model, incarnations }));
  const after = {
    // All of this batch, so that no watcher falls behind by it.
    ...nextState(state, model.state(), changes, changesKept + changes.length),
    incarnations: Object.fromEntries(incarnations),
  };
  const isChanged =
    changes.length > 0 ||
    state.sessions.join() !== after.sessions.join() ||
    JSON.stringify(state.incarnations) !== JSON.stringify(after.incarnations);
  return { tell, after, isChanged };
}
