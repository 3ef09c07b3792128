import { setImmediate as nextTurn } from 'node:timers/promises';

const longestTurnMs = 5;

/** Gives up the processor every few milliseconds, so that this process's other work goes on. */
export class Turns {
  #began = performance.now();

  async pause(): Promise<void> {
    if (performance.now() - this.#began < longestTurnMs) return;
    await nextTurn();
    this.#began = performance.now();
  }
}
