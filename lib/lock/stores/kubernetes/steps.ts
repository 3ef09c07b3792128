import { setTimeout as pause } from 'node:timers/promises';
import { StoreUnavailableError } from '../../errors.ts';
import { changesKept, nextState } from '../kept-state.ts';
import { settled } from '../settled.ts';
import { TicketModel } from '../ticket-model.ts';
import type { StoreChange } from '../ticket-store.ts';
import type { StateObject, Version } from './state-object.ts';
import { TooLargeError } from './state-object.ts';
import type { StoredState } from './stored-state.ts';
import { revisionsPerWrite } from './stored-state.ts';

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

interface Step {
  /** Takes the step; returns the function that reports its outcome once it is written. */
  readonly take: (draft: Draft) => () => void;
  readonly fail: (error: unknown) => void;
}

/**
 * Changes the state, with all steps that are due in one write. A batch that finds the object changed
 * by another client takes its steps again on the new state, for 10 s at most: then nothing was written,
 * and each step rejects. If the answer to a write is lost, the outcome of the whole batch is unknown.
 */
export class Steps {
  readonly #object: StateObject;
  #due: Step[] = [];
  #working: Promise<void> | undefined;
  #isClosed = false;

  constructor(object: StateObject) {
    this.#object = object;
  }

  async take<T>(step: (draft: Draft) => T): Promise<T> {
    if (this.#isClosed) throw new StoreUnavailableError('the Kubernetes store is closed');
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.#due.push({
      take: (draft) => settled(() => step(draft), resolve, reject),
      fail: reject,
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
      // A step makes one revision at most.
      const steps = this.#due.splice(0, revisionsPerWrite);
      try {
        await this.#batch(steps);
      } catch (error) {
        await this.#failed(steps, error);
      }
    }
    this.#working = undefined;
  }

  async #failed(steps: readonly Step[], error: unknown): Promise<void> {
    // Of a batch that is too large, those steps that fit are taken.
    if (!(error instanceof TooLargeError) || steps.length === 1) {
      for (const { fail } of steps) fail(error);
      return;
    }
    for (const step of steps) await this.#batch([step]).catch(step.fail);
  }

  async #batch(steps: readonly Step[]): Promise<void> {
    let before = this.#object.known;
    let isLast = false;
    const giveUpAt = performance.now() + patienceMs;
    for (;;) {
      if (!before) {
        before = await this.#object.read();
        isLast = true;
      }
      const { tell, after, isChanged } = taken(steps, before);
      if (isChanged && (await this.#object.replace(before, after))) isLast = true;
      else if (isChanged) {
        if (performance.now() > giveUpAt) throw new StoreUnavailableError(this.#object.busy);
        before = await this.#object.later(before, conflictMs);
        isLast = false;
        await pause(Math.random() * jitterMs);
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
  steps: readonly Step[],
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
