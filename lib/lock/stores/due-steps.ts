import { StoreUnavailableError } from '../errors.ts';

/** A step that waits for a write. `Draft`: the state that it reads and changes. */
export interface DueStep<Draft> {
  /** Takes the step; returns the function that reports its outcome once it is written. */
  readonly take: (draft: Draft) => () => void;
  readonly fail: (error: unknown) => void;
  /** The state is written even if no step changes it. */
  readonly mustWrite: boolean;
}

/**
 * The steps of one client that wait for the next write, which takes as many of them as it can. Nobody learns
 * of a step before it is written.
 */
export class DueSteps<Draft> {
  readonly #write: () => Promise<void>;
  readonly #closed: string;
  #due: DueStep<Draft>[] = [];
  #working: Promise<void> | undefined;
  #isClosed = false;

  /** `write` takes the `next` steps; if it throws, all that are due fail. `closed`: the message after `close`. */
  constructor(write: () => Promise<void>, closed: string) {
    this.#write = write;
    this.#closed = closed;
  }

  get isEmpty(): boolean {
    return this.#due.length === 0;
  }

  async take<T>(step: (draft: Draft) => T, { mustWrite = false } = {}): Promise<T> {
    if (this.#isClosed) throw new StoreUnavailableError(this.#closed);
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.#due.push({
      take: (draft) => settled(() => step(draft), resolve, reject),
      fail: reject,
      mustWrite,
    });
    this.#working ??= this.#work();
    return promise;
  }

  /** Takes the first steps off the list: all, or `most`. */
  next(most = this.#due.length): DueStep<Draft>[] {
    return this.#due.splice(0, most);
  }

  /** Waits for the steps that are due, and accepts no later ones. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#working;
  }

  async #work(): Promise<void> {
    // Steps of the same moment join the batch.
    await Promise.resolve();
    while (!this.isEmpty) {
      try {
        await this.#write();
      } catch (error) {
        for (const { fail } of this.next()) fail(error);
      }
    }
    this.#working = undefined;
  }
}

function settled<T>(
  step: () => T,
  resolve: (value: T) => void,
  reject: (error: unknown) => void,
): () => void {
  try {
    const value = step();
    return () => resolve(value);
  } catch (error) {
    return () => reject(error);
  }
}
