import type { FileSystems, WatchedFileSystem } from '../../../sentinel/ports.ts';
import type { Random } from '../random.ts';
import { longTailed } from '../random.ts';
import type { Kernel } from './kernel.ts';
import type { SimulatedMount } from './simulated-mount.ts';

const hungPollMs = 40;

/**
 * File systems whose writing back takes as long as the disk needs, or for ever while storage hangs.
 * The kernel does the work, also when the process that asked for it has died meanwhile.
 */
export function simulatedFileSystems(kernel: Kernel, random: Random): FileSystems {
  const { scheduler } = kernel.machine;
  const wait = (ms: number) =>
    new Promise<void>((resolve) => {
      scheduler.after(ms, kernel.party, 'timer', resolve);
    });
  /** Writes back; resolves early when there is nothing left to write to. */
  const writeBack = async (mount: SimulatedMount) => {
    const endMs = scheduler.now + mount.syncMs(scheduler.now);
    while (scheduler.now < endMs || mount.isHung) {
      if (mount.isCutOff || mount.isGone) return;
      await wait(Math.min(hungPollMs * 5, Math.max(1, endMs - scheduler.now)));
    }
    mount.synced(scheduler.now);
  };
  const freezeNow = async (mount: SimulatedMount) => {
    mount.fs = 'freezing';
    kernel.changed(mount);
    await writeBack(mount);
    mount.fs = mount.isCutOff ? 'open' : 'frozen';
    mount.freeze = undefined;
    kernel.changed(mount);
  };
  const find = ({ mountpoint }: WatchedFileSystem) => kernel.mountAt(mountpoint);
  return {
    flush: async (fileSystem) => {
      const mount = find(fileSystem);
      if (mount) await writeBack(mount);
    },
    freeze: async (fileSystem) => {
      const mount = find(fileSystem);
      if (!mount || !fileSystem.ownsFileSystem) return 'frozen';
      const isNew = mount.fs === 'open';
      // The kernel lets requests in as they came: the next one finds it frozen, also if its process
      // has died, and a thaw that came later undoes both.
      if (mount.fs === 'freezing') await mount.freeze;
      else if (mount.fs === 'open') {
        mount.freeze = freezeNow(mount);
        await mount.freeze;
      }
      if (mount.isCutOff) throw new Error('EIO: the file system is shut down');
      return isNew ? 'frozen' : 'found';
    },
    settle: async () => {},
    cutOff: async (fileSystem) => {
      const mount = find(fileSystem);
      if (!mount || !fileSystem.ownsFileSystem) return;
      await wait(longTailed(random, 1, 30));
      if (mount.isCutOff) return;
      mount.isCutOff = true;
      // A shutdown undoes a freeze, so that processes that wait in it can die.
      if (mount.fs === 'frozen') mount.fs = 'open';
      kernel.changed(mount);
      while (mount.isHung && !mount.isGone) await wait(hungPollMs * 5);
    },
    thaw: async (fileSystem) => {
      const mount = find(fileSystem);
      if (!mount || !fileSystem.ownsFileSystem) return;
      while (mount.fs === 'freezing') await wait(hungPollMs);
      if (mount.fs === 'open') return;
      mount.fs = 'open';
      kernel.changed(mount);
    },
  };
}
