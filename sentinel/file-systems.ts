import { discardsEnded } from '../lib/linux/discards.ts';
import { keepFrozen, thaw } from '../lib/linux/freeze.ts';
import { currentMountsAt, isMountpoint } from '../lib/linux/mountinfo.ts';
import { run } from '../lib/linux/run.ts';
import { cutOffAtOnce } from '../lib/linux/shut-down.ts';
import type { FileSystems } from './ports.ts';

/** Limit of a flush: storage that is away can block it for ever. */
const flushLimitMs = 60_000;
/** Longer than the pauses between two discards; a part of the time that a freeze may take. */
const quietMs = 200;

/** The file systems of this machine. Does nothing where nothing is mounted. */
export const machineFileSystems: FileSystems = {
  flush: async ({ mountpoint }) => {
    if (!(await isMountpoint(mountpoint))) return;
    await run('sync', ['--file-system', mountpoint], { timeoutMs: flushLimitMs });
  },
  freeze: async ({ mountpoint, ownsFileSystem }) => {
    return ownsFileSystem && !(await keepFrozen(mountpoint)) ? 'found' : 'frozen';
  },
  settle: async ({ mountpoint, ownsFileSystem }) => {
    if (ownsFileSystem) await untilDiscarded(mountpoint);
  },
  cutOff: async ({ mountpoint, ownsFileSystem }) => {
    if (ownsFileSystem) await cutOffAtOnce(mountpoint);
  },
  thaw: async ({ mountpoint, ownsFileSystem }) => {
    if (ownsFileSystem) await thaw(mountpoint);
  },
};

/** Waits for what a frozen file system still discards: that would destroy what the next host writes. */
async function untilDiscarded(mountpoint: string): Promise<void> {
  const mount = (await currentMountsAt(mountpoint)).at(-1);
  if (mount?.superOptions.includes('discard')) await discardsEnded(mount.device, { quietMs });
}
