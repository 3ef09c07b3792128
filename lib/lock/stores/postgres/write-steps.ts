import type { Effects } from '../effects.ts';
import type { Touches } from '../touches.ts';
import type { Row } from './connections.ts';
import type { TimeLimit } from './time-limit.ts';

/**
 * The most steps in one transaction, during which all other clients wait. Each may need a round trip of its own:
 * so many fit into the limit of a call also where one takes 100 ms.
 */
const mostSteps = 16;

/** A statement and its values. */
export type Statement = readonly [text: string, values: readonly unknown[]];

/** The changes of one step. */
export interface Transaction {
  readonly effects: Effects;
  /** Queues a statement, which runs together with all others and the commit. */
  send(...statement: Statement): void;
}

/** Decides the changes from the rows of the step's first statement. What it sends before it throws is not sent. */
export type Step<T> = (rows: readonly Row[], transaction: Transaction) => T;

/** A writing step that waits for its transaction. */
export interface WaitingStep {
  readonly look: Statement;
  /** Undefined: the step depends on all others. */
  readonly touches: Touches | undefined;
  readonly limit: TimeLimit;
  /** Takes the step, also again when the transaction is repeated. */
  readonly take: (rows: readonly Row[], transaction: Transaction) => TakenStep;
  readonly fail: (error: unknown) => void;
}

export interface TakenStep {
  /** False: the step has thrown, and has no effects. */
  readonly isDone: boolean;
  /** Tells the caller, once the transaction is committed. */
  readonly tell: () => void;
}

/**
 * Group commit: the writing steps of one client that wait for the next transaction, which takes all of them that
 * it can.
 */
export class WriteSteps {
  readonly #transact: (steps: readonly WaitingStep[]) => Promise<void>;
  #waiting: WaitingStep[] = [];
  #isRunning = false;

  /** `transact` takes the steps in one transaction and tells their callers; it never rejects. */
  constructor(transact: (steps: readonly WaitingStep[]) => Promise<void>) {
    this.#transact = transact;
  }

  /** Takes a step. At the limit it rejects: a step that waits is then never taken, any other has an unknown outcome. */
  run<T>(
    look: Statement,
    step: Step<T>,
    touches: Touches | undefined,
    limit: TimeLimit,
  ): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.#waiting.push({
      ...{ look, touches, limit, fail: reject },
      take: (rows, transaction) => {
        try {
          const outcome = step(rows, transaction);
          return { isDone: true, tell: () => resolve(outcome) };
        } catch (error) {
          return { isDone: false, tell: () => reject(error) };
        }
      },
    });
    if (!this.#isRunning) void this.#work();
    return limit.race(promise);
  }

  async #work(): Promise<void> {
    this.#isRunning = true;
    for (;;) {
      // All callers that got their outcome continue first, so that their next steps share a transaction.
      await new Promise<void>((resolve) => process.nextTick(resolve));
      const steps = this.#waiting.splice(0, mostSteps).filter(({ limit }) => !limit.isOver);
      if (steps.length > 0) await this.#transact(steps);
      else if (this.#waiting.length === 0) break;
    }
    this.#isRunning = false;
  }
}
