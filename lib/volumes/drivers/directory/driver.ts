import { chmod, mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { currentMountsAt } from '../../../linux/mountinfo.ts';
import { InUseError, InvalidRequestError, NotFoundError } from '../../errors.ts';
import type {
  DriverContext,
  DriverPlace,
  DriverVolume,
  SnapshotTarget,
  VolumeDriver,
} from '../driver.ts';
import { confirmed } from '../shared/confirmed.ts';
import { copyTree, treeBytes } from '../shared/copy.ts';
import { markFresh, markUsed } from '../shared/fresh-copy.ts';
import { bindAt, detachAt, removeMountpoint, unmountAt } from '../shared/mountpoint.ts';
import { directoryPool } from '../shared/pool.ts';
import {
  exists,
  removeEmpty,
  renameDurably,
  replaceDirectory,
  syncFileSystem,
  syncPath,
} from '../shared/storage-files.ts';
import { discard, sweeper, withTemporary } from '../shared/temporary.ts';
import { flushShared } from './flush.ts';
import { directoryStorage } from './storage.ts';

/**
 * Volumes as directories of one file system, which may be shared by the hosts (NFS, CephFS …).
 *
 *     VOLUME_DIR/directory/NAME/data               the content, bind-mounted
 *     VOLUME_DIR/directory/NAME/snapshots/SNAPSHOT
 *     VOLUME_DIR/directory/NAME/data.old           only in the middle of a restore
 *     VOLUME_DIR/directory/.tmp-*                  things half made or half deleted
 *
 * Copies share blocks on btrfs and xfs and are real copies elsewhere. A copy of a directory in use
 * is not one point in time: files are copied one after the other.
 */
export function directoryDriver({ volumeDir, report }: DriverPlace): VolumeDriver {
  const base = join(volumeDir, 'directory');
  const beginSweep = sweeper(base);

  return {
    name: 'directory',
    capabilities: {
      size: false,
      multiHostMount: true,
      copyNeedsQuiet: false,
      ownsFileSystem: false,
    },
    options: {},

    parseOptions(options) {
      for (const name of Object.keys(options)) {
        throw new InvalidRequestError(
          name === 'size'
            ? 'the directory driver can\'t limit the size of a volume: leave "size" out, or use the image driver, which can'
            : `the directory driver does not know the option ${JSON.stringify(name)}: it has none`,
        );
      }
      return {};
    },

    async create(volume, { signal }) {
      beginSweep();
      const { home, hasData } = await settled(volume);
      if (hasData) return;
      await withTemporary(base, async (temporary) => {
        const made = join(temporary, 'volume');
        await makeHome(made);
        await mkdir(join(made, 'data'));
        // Not left to the umask: a container's user has to get in.
        await chmod(join(made, 'data'), 0o755);
        await syncPath(made);
        signal.throwIfAborted();
        await renameDurably(made, home);
        await removeEmpty(temporary);
      });
    },

    async remove(volume, { signal }) {
      beginSweep();
      const { home } = paths(volume);
      signal.throwIfAborted();
      await discard(home, base, tellOf(volume));
    },

    async mount(volume, mountpoint, context) {
      beginSweep();
      const data = await existingData(volume);
      context.signal.throwIfAborted();
      // Nothing is mounted on a directory that this call has made: the mount table need not be read.
      const made = await mkdir(mountpoint, { recursive: true, mode: 0o700 });
      if (made === undefined && (await currentMountsAt(mountpoint)).length > 0) {
        if (await isSameDirectory(data, mountpoint)) return;
        throw new InUseError(`something else is mounted at ${mountpoint}`);
      }
      await markUsed(paths(volume).home);
      await bindAt(mountpoint, data, context);
    },

    async unmount(_volume, mountpoint, context) {
      context.signal.throwIfAborted();
      const mounts = await currentMountsAt(mountpoint);
      await flushShared(mountpoint, mounts);
      await unmountAt(mountpoint, context, mounts);
      await removeMountpoint(mountpoint);
    },

    async abandon(_volume, mountpoint, context) {
      await detachAt(mountpoint, context);
      await removeMountpoint(mountpoint);
    },

    async snapshot(target, context) {
      beginSweep();
      const data = await existingData(target.volume);
      const final = snapshotPath(target);
      await withTemporary(base, async (temporary) => {
        const copy = await syncedCopy(data, join(temporary, 'data'), context);
        await confirmed(context);
        await replaceDirectory(copy, final, join(temporary, 'old'));
      });
    },

    async removeSnapshot(target, context) {
      beginSweep();
      const final = snapshotPath(target);
      await confirmed(context);
      await discard(final, base, tellOf(target.volume));
    },

    async restore(target, context) {
      beginSweep();
      const data = await existingData(target.volume);
      const { old } = paths(target.volume);
      const from = await existingSnapshot(target);
      await withTemporary(
        base,
        async (temporary) => {
          const copy = await syncedCopy(from, join(temporary, 'data'), context);
          await confirmed(context);
          // A crash between these two renames is settled by the next call: see `settled`.
          await replaceDirectory(copy, data, old);
          await renameDurably(old, join(temporary, 'old'));
        },
        tellOf(target.volume),
      );
    },

    async clone(source, target, context) {
      beginSweep();
      const from =
        'snapshot' in source ? await existingSnapshot(source) : await existingData(source.volume);
      await withTemporary(base, async (temporary) => {
        const made = join(temporary, 'volume');
        await makeHome(made);
        await markFresh(made);
        await syncedCopy(from, join(made, 'data'), context);
        await confirmed(context);
        await replaceDirectory(made, paths(target).home, join(temporary, 'old'));
      });
    },

    // A bind mount shows which directory of its file system it is.
    owns: ({ root }) => /\/directory\/[^/]+\/data(\/\/deleted)?$/.test(root),

    pool: directoryPool(base),
    storage: directoryStorage(base),

    promisedBytes: () => 0,

    // Only volumes with a size are counted.
    occupied: async () => ({ volumeBytes: 0, snapshotsBytes: [] }),

    async recover() {
      // A bind mount is never frozen.
    },

    hasShutDown: async () => false,

    async usage(volume) {
      const { data, old } = paths(volume);
      const content = (await exists(data)) ? data : old;
      if (!(await exists(content))) throw noStorage(volume);
      return { usedBytes: await treeBytes(content, { timeoutMs: usageTimeoutMs }) };
    },
  };

  function tellOf({ name }: DriverVolume) {
    return (message: string) => report?.(name, message);
  }

  function paths({ name }: DriverVolume) {
    const home = join(base, name);
    return { home, data: join(home, 'data'), old: join(home, 'data.old') };
  }

  function snapshotPath({ volume, snapshot }: SnapshotTarget): string {
    return join(paths(volume).home, 'snapshots', snapshot);
  }

  /**
   * Ends a restore that a crash interrupted: with no data the old content comes back; with both,
   * the new content was in place already. Only under the volume's locks.
   */
  async function settled(volume: DriverVolume) {
    const found = paths(volume);
    const [hasOld, hasData] = await Promise.all([exists(found.old), exists(found.data)]);
    if (hasOld) {
      if (hasData) await discard(found.old, base);
      else await renameDurably(found.old, found.data);
    }
    return { ...found, hasData: hasOld || hasData };
  }

  async function existingData(volume: DriverVolume): Promise<string> {
    const { data, hasData } = await settled(volume);
    if (!hasData) throw noStorage(volume);
    return data;
  }

  async function existingSnapshot(target: SnapshotTarget): Promise<string> {
    const path = snapshotPath(target);
    if (await exists(path)) return path;
    throw new NotFoundError(
      `the storage of snapshot ${target.volume.name}@${target.snapshot} is not there`,
    );
  }
}

const usageTimeoutMs = 60_000;

async function makeHome(path: string): Promise<void> {
  await mkdir(path, { mode: 0o700 });
  await mkdir(join(path, 'snapshots'), { mode: 0o700 });
}

async function syncedCopy(from: string, to: string, context: DriverContext): Promise<string> {
  await copyTree(from, to, context);
  await syncFileSystem(to);
  context.signal.throwIfAborted();
  return to;
}

/** A bind mount shows the very same directory. */
async function isSameDirectory(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([stat(one), stat(other)]);
  return a.dev === b.dev && a.ino === b.ino;
}

function noStorage(volume: DriverVolume): NotFoundError {
  return new NotFoundError(`the storage of volume ${volume.name} is not there`);
}
