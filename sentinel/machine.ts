import { bootNowMs } from '../lib/linux/boot.ts';
import type { Clock } from '../lib/running/clock.ts';
import type { MachineClock } from './ports.ts';

/** The clocks of this machine. */
export function machineClock(clock: Clock): MachineClock {
  return {
    now: bootNowMs,
    timeOfDayMs: () => Date.now(),
    date: () => clock.date(),
    sleep: (ms, signal) => clock.sleep(ms, signal),
  };
}
