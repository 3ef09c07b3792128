import type { VolumeFence } from './volume-fence.ts';
import type { WatchedVolume } from './watch.ts';

/**
 * Says what a volume's users should do; each step decides it again.
 *
 * | wish          | when                                                                        |
 * |---------------|-----------------------------------------------------------------------------|
 * | `run`         | the deadline is far                                                         |
 * | `prepare`     | it is near: write cached data back and look for users                       |
 * | `ask`         | the same, with `on-lost=stop`: ask the containers to stop                   |
 * | `copy`        | a copy of one moment is made: all stand still, and run again soon           |
 * | `stand-still` | the lead before the deadline has begun, or a clock has jumped: stop all     |
 * | `end`         | the lock is lost or evicted, or the file system is cut off: kill all        |
 */
export type Wish = 'run' | 'prepare' | 'ask' | 'copy' | 'stand-still' | 'end';

export interface WishTimes {
  /** Milliseconds since boot. */
  readonly now: number;
  /** How long before the deadline the stop begins. */
  readonly leadMs: number;
  /** How long before that containers are asked to stop, with `on-lost=stop`. */
  readonly graceMs: number;
  /** How long before the lead cached data are written back. */
  readonly prepareMs: number;
  /** Deadlines that were computed before this moment do not count: a clock has jumped. */
  readonly distrustedBeforeMs: number;
}

export function wishFor(volume: WatchedVolume, fence: VolumeFence, times: WishTimes): Wish {
  if (volume.state === 'lost' || volume.state === 'evicted' || fence.fs === 'cut-off') return 'end';
  const { now, leadMs, graceMs, distrustedBeforeMs } = times;
  const deadlineMs = volume.deadlineMs ?? 0;
  const leftMs = deadlineMs - leadMs - now;
  if (leftMs <= 0 || deadlineMs < distrustedBeforeMs) return 'stand-still';
  if (now < (volume.stillUntilMs ?? now)) return 'copy';
  if (volume.onLost === 'stop' && leftMs <= graceMs) return 'ask';
  return quietMs(volume, times) <= 0 ? 'prepare' : 'run';
}

/** Returns for how many milliseconds from now time alone leaves the wish at `run`. */
export function quietMs({ deadlineMs = 0, onLost }: WatchedVolume, times: WishTimes): number {
  const { now, leadMs, graceMs, prepareMs } = times;
  return deadlineMs - leadMs - now - Math.max(prepareMs, onLost === 'stop' ? graceMs : 0);
}

/** Returns true if the volume's users may run. */
export function mayRun(wish: Wish): boolean {
  return wish === 'run' || wish === 'prepare' || wish === 'ask';
}
