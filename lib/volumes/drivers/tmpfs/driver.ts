import { mkdir, stat, statfs } from 'node:fs/promises';
import { freemem, totalmem } from 'node:os';
import { join } from 'node:path';
import { isMountpoint } from '../../../linux/mountinfo.ts';
import { addMountWords } from '../../../linux/mounting.ts';
import { run } from '../../../linux/run.ts';
import { InUseError, InvalidRequestError, NotFoundError } from '../../errors.ts';
import type { DriverContext, DriverPlace, DriverVolume, VolumeDriver } from '../driver.ts';
import type { DriverPool } from '../driver-pool.ts';
import { childPath } from '../shared/child-path.ts';
import { bindAt, detachAt, mountAt, removeMountpoint, unmountAt } from '../shared/mountpoint.ts';
import { directoryPool } from '../shared/pool.ts';
import { renameHome } from '../shared/renamed.ts';
import { exists } from '../shared/storage-files.ts';
import { discard, makeInOneStep, sweeper } from '../shared/temporary.ts';
import { mounting, parseTmpfsOptions, readOptions, tmpfsOptions } from './options.ts';
import { holdsNothing, rememberOptions, tmpfsStorage, writeOptions } from './storage.ts';

/**
 * Volumes in the memory of the host that created them, each a tmpfs of its own with a size that holds.
 *
 *     HOST_DIR/tmpfs/NAME/options.json   the volume's options
 *     HOST_DIR/tmpfs/NAME/data           the tmpfs, mounted from the first use until Remove
 *     HOST_DIR/tmpfs/.tmp-*              things half made or half deleted
 *
 * For a container the tmpfs is bind-mounted at the volume's mountpoint. The content lasts from container to
 * container, and over a restart of the daemon, until Remove or until the host stops; the volume is empty
 * then, with the owner that its options ask for. Memory of a tmpfs can be swapped to disk.
 */
export function tmpfsDriver({ volumeDir, hostDir = volumeDir, report }: DriverPlace): VolumeDriver {
  const base = join(hostDir, 'tmpfs');
  const beginSweep = sweeper(base);

  return {
    name: 'tmpfs',
    capabilities: {
      size: true,
      multiHostMount: false,
      copyNeedsQuiet: false,
      ownsFileSystem: false, // The kernel does not freeze a tmpfs.
      copies: false,
      hostOnly: true,
    },
    options: tmpfsOptions,
    programs: {},
    parseOptions: parseTmpfsOptions,

    async create(volume, context) {
      beginSweep();
      const isThere = await exists(homeOf(volume));
      if (isThere) {
        if (!(await holdsNothing(dataOf(volume)))) return 'found';
        await remove(volume, context); // Its options may be others.
      }
      const fill = (home: string) => writeOptions(home, volume.options);
      await makeInOneStep(homeOf(volume), fill, context.signal);
      return isThere ? 'found' : 'made';
    },

    remove,

    async mount(volume, mountpoint, context) {
      beginSweep();
      if (!(await exists(homeOf(volume)))) throw noStorage(volume);
      context.signal.throwIfAborted();
      await rememberOptions(homeOf(volume), volume.options); // They may have been changed since the last mount.
      const data = await inMemory(volume, context);
      await mkdir(mountpoint, { recursive: true, mode: 0o700 });
      if (await isMountpoint(mountpoint)) {
        if (!(await isSameDirectory(data, mountpoint))) {
          throw new InUseError(`something else is mounted at ${mountpoint}`);
        }
        // A crash may have come between the mount and its words.
        return await addMountWords(mountpoint, mounting.words(volume), context.signal);
      }
      await bindAt(mountpoint, data, mounting.words(volume), context);
    },

    async grow(volume, _mountpoint, context) {
      await rememberOptions(homeOf(volume), volume.options);
      if (await isMountpoint(dataOf(volume))) await growInMemory(volume, context);
    },

    async unmount(_volume, mountpoint, context) {
      await unmountAt(mountpoint, context);
      await removeMountpoint(mountpoint);
    },

    async abandon(_volume, mountpoint, context) {
      await detachAt(mountpoint, context);
      await removeMountpoint(mountpoint);
    },

    snapshot: noCopies,
    restore: noCopies,
    clone: noCopies,
    async removeSnapshot() {
      // There is none.
    },

    async rename(volume, to, context) {
      beginSweep();
      await renameHome(base, volume.name, to, context);
    },

    owns: ({ fsType, source, root }) => fsType === 'tmpfs' && source === sourceName && root === '/',

    pool: memory(base),
    storage: tmpfsStorage(base),

    promisedBytes: sizeOf,

    async occupied(volume) {
      return { volumeBytes: await usedBytes(volume), snapshotsBytes: [] };
    },

    async recover() {
      // A tmpfs is never frozen.
    },

    hasShutDown: async () => false,

    async usage(volume) {
      if (!(await exists(homeOf(volume)))) throw noStorage(volume);
      return { usedBytes: await usedBytes(volume), sizeBytes: sizeOf(volume) };
    },
  };

  async function remove(volume: DriverVolume, context: DriverContext): Promise<void> {
    beginSweep();
    context.signal.throwIfAborted();
    if (!(await exists(homeOf(volume)))) return;
    await unmountAt(dataOf(volume), context);
    await discard(homeOf(volume), base, context, { tell: (why) => report?.(volume.name, why) });
  }

  function homeOf({ name }: DriverVolume): string {
    return childPath(base, name);
  }

  function dataOf(volume: DriverVolume): string {
    return join(homeOf(volume), 'data');
  }

  /** Mounts the volume's tmpfs, empty, unless it is there since an earlier use. */
  async function inMemory(volume: DriverVolume, context: DriverContext): Promise<string> {
    const data = dataOf(volume);
    if (await isMountpoint(data)) {
      await growInMemory(volume, context);
      return data;
    }
    const { size, uid = '0', gid = '0', mode = '0755' } = readOptions(volume);
    const words = [`size=${size}`, `uid=${uid}`, `gid=${gid}`, `mode=${mode}`];
    const options = [...words, ...mounting.words(volume)].join(',');
    await mountAt(data, ['-t', 'tmpfs', '-o', options, sourceName], context);
    return data;
  }

  /** Makes the tmpfs as large as its options say, if it is smaller: at every place where it is mounted. */
  async function growInMemory(volume: DriverVolume, { signal }: DriverContext): Promise<void> {
    const data = dataOf(volume);
    const { blocks, bsize } = await statfs(data);
    if (blocks * bsize >= sizeOf(volume)) return;
    await run('mount', ['-o', `remount,size=${sizeOf(volume)}`, data], { signal });
  }

  async function usedBytes(volume: DriverVolume): Promise<number> {
    const data = dataOf(volume);
    if (!(await isMountpoint(data))) return 0;
    const { blocks, bfree, bsize } = await statfs(data);
    return (blocks - bfree) * bsize;
  }
}

/** The source that the kernel shows for these mounts. */
const sourceName = 'berth-volume';

function sizeOf(volume: DriverVolume): number {
  return Number(readOptions(volume).size);
}

async function noCopies(): Promise<never> {
  throw new InvalidRequestError(
    'driver tmpfs keeps volumes in memory and makes no snapshots and no copies; copy the files in a container',
  );
}

/** The host's memory as a pool. It needs no mark: what another cluster would have there has gone. */
function memory(base: string): DriverPool {
  return {
    ...directoryPool(base),
    async space() {
      const [totalBytes, freeBytes] = [totalmem(), freemem()];
      return { totalBytes, freeBytes, freeFiles: 1, sharesBlocks: false, isOnRoot: false };
    },
  };
}

/** A bind mount shows the very same directory. */
async function isSameDirectory(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([stat(one), stat(other)]);
  return a.dev === b.dev && a.ino === b.ino;
}

function noStorage({ name }: DriverVolume): NotFoundError {
  return new NotFoundError(`the storage of volume ${name} is not there`);
}
