import type { Party, Scheduler } from '../scheduler.ts';

/** Work is waited for when this much has come together, to save events. */
const leastWaitMs = 4;

/**
 * One process: it computes one thing at a time, and may be killed before or after any of its steps.
 * What it called goes on without it.
 */
export class SimulatedProcess {
  readonly party: Party;
  readonly #scheduler: Scheduler;
  readonly #onDeath: () => void;
  /** The milliseconds of work that virtual time does not contain yet. */
  #debtMs = 0;
  #freeAt = 0;
  #stepsLeft = Number.POSITIVE_INFINITY;

  constructor(options: { party: Party; scheduler: Scheduler; onDeath: () => void }) {
    this.party = options.party;
    this.#scheduler = options.scheduler;
    this.#onDeath = options.onDeath;
  }

  get isGone(): boolean {
    return this.party.state === 'gone';
  }

  /** Lets it be killed after this many steps; a call has one before it and one after it. */
  dieAfter(steps: number): void {
    this.#stepsLeft = steps;
  }

  /** Counts work that nothing waits for, such as a write to a file. */
  work(ms: number): void {
    this.#debtMs += ms;
  }

  /** Returns true if the process lives on after this step. */
  step(): boolean {
    if (this.isGone) return false;
    this.#stepsLeft -= 1;
    if (this.#stepsLeft > 0) return true;
    this.#onDeath();
    return false;
  }

  /** A call to the machine that takes `costMs` of the process and ends when `call` does. */
  async call<T>(costMs: number, call: () => Promise<T>): Promise<T> {
    if (!this.step()) return never();
    await this.#spend(costMs);
    if (this.isGone) return never();
    const result = await this.#answer(call());
    return this.step() ? result : never();
  }

  /** Resolves after `ms`, unless the process is killed before. */
  wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#scheduler.after(ms, this.party, 'timer', resolve);
    });
  }

  async #spend(ms: number): Promise<void> {
    this.#debtMs += ms;
    if (this.#debtMs < leastWaitMs) return;
    const { now } = this.#scheduler;
    this.#freeAt = Math.max(this.#freeAt, now) + this.#debtMs;
    this.#debtMs = 0;
    await this.wait(this.#freeAt - now);
  }

  /** An answer reaches a process that is frozen when it is thawed. */
  async #answer<T>(answer: Promise<T>): Promise<T> {
    try {
      return await answer;
    } finally {
      if (this.party.state === 'paused') await this.wait(0);
      if (this.isGone) await never();
    }
  }
}

function never(): Promise<never> {
  return new Promise(() => {});
}
