import { bootNowMs } from '../lib/linux/boot.ts';
import {
  freezeGroup,
  isBeingKilled,
  isEmpty,
  isFrozen,
  killGroup,
  setFrozen,
} from '../lib/linux/control-group.ts';
import type { Clock } from '../lib/running/clock.ts';
import { hold, isHeld, unhold } from './hold.ts';
import type { MachineClock, Stops } from './ports.ts';

/** The clocks of this machine. */
export function machineClock(clock: Clock): MachineClock {
  return {
    now: bootNowMs,
    timeOfDayMs: () => Date.now(),
    date: () => clock.date(),
    sleep: (ms, signal) => clock.sleep(ms, signal),
  };
}

export function machineStops(clock: Clock): Stops {
  return {
    standing: async ({ group }) => {
      if (!group || (await isEmpty(group))) return { is: 'ended' };
      if (await isHeld(group)) return { is: 'held' };
      return { is: (await isFrozen(group)) ? 'frozen' : 'running' };
    },
    freeze: async ({ group }) => {
      if (group) await setFrozen(group, true);
    },
    hold: async ({ group }, wasPaused) => {
      if (!group) return;
      await freezeGroup(group);
      await hold(group, clock);
      if (!wasPaused) await setFrozen(group, false);
    },
    release: async ({ group }, wasPaused) => {
      if (!group) return;
      await setFrozen(group, wasPaused);
      await unhold(group, clock);
    },
    isBeingKilled: async ({ group }) => group !== undefined && (await isBeingKilled(group)),
    kill: async ({ group }) => {
      if (group) await killGroup(group);
    },
  };
}
