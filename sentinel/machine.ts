import { bootNowMs } from '../lib/linux/boot.ts';
import type { Clock } from '../lib/running/clock.ts';
import { smallestJumpMs } from './clock-jump.ts';
import type { MachineClock } from './ports.ts';

/** A jump of the time of day, or the end of a suspend, is noticed in a sleep within this time. */
const noticeMs = 50;

/** The clocks of this machine. */
export function machineClock(
  clock: Clock,
  times: Pick<MachineClock, 'now' | 'timeOfDayMs'> = { now: bootNowMs, timeOfDayMs: Date.now },
): MachineClock {
  const dayLeadMs = () => times.timeOfDayMs() - times.now();
  return {
    ...times,
    date: () => clock.date(),
    sleep: async (ms, signal) => {
      if (ms <= noticeMs) return clock.sleep(ms, signal);
      const endMs = times.now() + ms;
      const ledMs = dayLeadMs();
      while (!signal?.aborted && Math.abs(dayLeadMs() - ledMs) < smallestJumpMs) {
        const leftMs = endMs - times.now();
        if (leftMs <= 0) return;
        await clock.sleep(Math.min(leftMs, noticeMs), signal);
      }
    },
  };
}
