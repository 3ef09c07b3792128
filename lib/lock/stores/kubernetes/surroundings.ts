import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';

/** The time and the random values of a store's process. A simulation passes its own. */
export interface Surroundings {
  /**
   * Returns milliseconds since some fixed moment; never goes back, and counts no more than has passed: the
   * TTLs of other clients are measured by it. It may leave out the time that the machine was asleep.
   */
  now(): number;
  /** Resolves after `ms`, or at once when the signal aborts (it does not reject). A caller waits for it. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Does the same in the background: it does not keep the process alive. */
  idle(ms: number, signal: AbortSignal): Promise<void>;
  /** Returns a number from 0 up to 1. */
  random(): number;
  /** Returns an id that no other call, of no process, returns. */
  newId(): string;
}

export const processSurroundings: Surroundings = {
  // Not the time since boot, which the clock of the lock engine adds: it may count a second too much.
  now: () => performance.now(),
  sleep: (ms, signal) => pause(ms, undefined, { ...(signal && { signal }) }).catch(ended),
  idle: (ms, signal) => pause(ms, undefined, { ref: false, signal }).catch(ended),
  random: () => Math.random(),
  newId: () => randomUUID(),
};

/** A pause rejects only when its signal aborts, which ends it. */
function ended(): void {}
