import type { TimeLimit } from './time-limit.ts';

/** Lets one caller run at a time, first come, first served. */
export class Turns {
  #last: Promise<void> = Promise.resolve();

  /** Resolves at the caller's turn, which lasts until the result is disposed. */
  async take(limit: TimeLimit): Promise<Disposable> {
    const before = this.#last;
    const own = Promise.withResolvers<void>();
    this.#last = own.promise;
    try {
      await limit.race(before);
    } catch (error) {
      void before.then(own.resolve);
      throw error;
    }
    return { [Symbol.dispose]: own.resolve };
  }
}
