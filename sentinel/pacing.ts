import type { VolumeView } from './plan.ts';
import type { WishTimes } from './wish.ts';
import { mayRun, quietMs } from './wish.ts';

/**
 * How often to look, by what goes on: nothing is watched; all users run; users are being stopped;
 * the same for long, as something has to wake first; all that should stand still do.
 */
export type Pace = 'idle' | 'guarding' | 'stopping' | 'waiting' | 'fenced';

/** The pause between two steps while a deadline is near, and after a step that has failed. */
export const guardedSleepMs = 50;
/** The longest pause while all users run and no deadline is near. */
const longestSleepMs = 1_000;
/** The same while users stand still: `docker exec` may start a process in one. */
const fencedSleepMs = 100;
/** The pause between two steps while users are being stopped. */
const stoppingSleepMs = 5;
/** A stop that takes longer than this waits for something: it is looked at less often. */
const longStopMs = 3_000;
/** The pause while nothing is watched. */
const idleSleepMs = 250;

/** How often users are looked for while a deadline is near, or has passed. */
const lookPauseMs: Record<Pace, number> = {
  idle: 500,
  guarding: 500,
  stopping: 500,
  waiting: 500,
  fenced: 1_000,
};
/**
 * The pauses of such looks, as a multiple of what a look takes, while all that should stand still do, or something
 * has to wake first. A look beside thousands of processes takes longer than its pause, and the sentinel has
 * priority: without this, looks that follow each other without an end leave no processor to anybody else.
 */
const restingShare = 3;

/** Returns the time from the begin of one look to that of the next. `lookMs`: how long the last one took. */
export function lookEveryMs(pace: Pace, lookMs: number): number {
  const isResting = pace === 'fenced' || pace === 'waiting';
  return isResting ? Math.max(lookPauseMs[pace], restingShare * lookMs) : lookPauseMs[pace];
}

/** How often users are looked for while no deadline is near: this measures how long a look takes. */
export const measureMs = 60_000;

/** Tells the pace, for which it remembers since when users are being stopped. */
export class Pacing {
  #stoppingSinceMs: number | undefined;

  of(volumes: readonly VolumeView[], hasStopped: boolean, now: number): Pace {
    const isStopping = volumes.some(({ wish, fence: { phase } }) => {
      return wish === 'end' ? phase !== 'ended' : !mayRun(wish) && phase !== 'fenced';
    });
    this.#stoppingSinceMs = isStopping ? (this.#stoppingSinceMs ?? now) : undefined;
    if (this.#stoppingSinceMs !== undefined) {
      return now - this.#stoppingSinceMs < longStopMs ? 'stopping' : 'waiting';
    }
    if (hasStopped) return 'fenced';
    return volumes.length > 0 ? 'guarding' : 'idle';
  }
}

/** Returns the pause until the next step. */
export function sleepMs(pace: Pace, volumes: readonly VolumeView[], times: WishTimes): number {
  if (pace === 'stopping') return stoppingSleepMs;
  if (pace === 'fenced') return fencedSleepMs;
  if (pace === 'idle') return idleSleepMs;
  return pace === 'guarding' ? guardMs(volumes, times) : guardedSleepMs;
}

/** Returns the time until something is due; news of the daemon and jumps of a clock come before. */
function guardMs(volumes: readonly VolumeView[], times: WishTimes): number {
  const areQuiet = volumes.every(({ wish, fence: { phase, fs, identity } }) => {
    return wish === 'run' && phase === 'running' && fs === 'open' && identity !== undefined;
  });
  if (!areQuiet) return guardedSleepMs;
  const dueMs = volumes.map(({ watched }) => quietMs(watched, times));
  return Math.max(1, Math.min(longestSleepMs, ...dueMs));
}
