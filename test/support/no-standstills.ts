import type { ContainerCommands } from '../../lib/volumes/container-commands.ts';
import type { Standstills } from '../../lib/volumes/mounts/standstill.ts';

/** Standstills for tests without containers: nobody has to be stopped. */
export const noStandstills: Standstills = {
  begin: async () => ({
    signal: new AbortController().signal,
    end: async () => {},
    tookMs: 0,
    [Symbol.asyncDispose]: async () => {},
  }),
};

/** Commands for tests without containers. */
export const noCommands: ContainerCommands = {
  run: () => Promise.reject(new Error('there are no containers')),
};
