import { keepFrozen, thaw } from '../lib/linux/freeze.ts';
import { isMountpoint } from '../lib/linux/mountinfo.ts';
import { run } from '../lib/linux/run.ts';
import { cutOffAtOnce } from '../lib/linux/shut-down.ts';
import type { FileSystems } from './ports.ts';

/** Limit of a flush: storage that is away can block it for ever. */
const flushLimitMs = 60_000;

/** The file systems of this machine. Does nothing where nothing is mounted. */
export const machineFileSystems: FileSystems = {
  flush: async ({ mountpoint }) => {
    if (!(await isMountpoint(mountpoint))) return;
    await run('sync', ['--file-system', mountpoint], { timeoutMs: flushLimitMs });
  },
  freeze: async ({ mountpoint, ownsFileSystem }) => {
    if (ownsFileSystem) await keepFrozen(mountpoint);
  },
  cutOff: async ({ mountpoint, ownsFileSystem }) => {
    if (ownsFileSystem) await cutOffAtOnce(mountpoint);
  },
  thaw: async ({ mountpoint, ownsFileSystem }) => {
    if (ownsFileSystem) await thaw(mountpoint);
  },
};
