import { chmod, mkdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { currentMountsAt } from '../../../linux/mountinfo.ts';
import { addMountWords } from '../../../linux/mounting.ts';
import { allOf } from '../../../running/all-of.ts';
import { InUseError, InvalidRequestError, NotFoundError } from '../../errors.ts';
import type {
  DriverContext,
  DriverPlace,
  DriverVolume,
  SnapshotTarget,
  VolumeDriver,
} from '../driver.ts';
import { keepOption, parseKeep } from '../keep.ts';
import { childPath } from '../shared/child-path.ts';
import { confirmed } from '../shared/confirmed.ts';
import { copyTree, treeBytes } from '../shared/copy.ts';
import { markFresh, markUsed } from '../shared/fresh-copy.ts';
import { forgetNames, lookFresh } from '../shared/fresh-names.ts';
import { mountOptions } from '../shared/mount-options.ts';
import { bindAt, detachAt, removeMountpoint, unmountAt } from '../shared/mountpoint.ts';
import type { RootOwner } from '../shared/owner.ts';
import { giveOwner, ownerOf, ownerOptions, parseOwner } from '../shared/owner.ts';
import { directoryPool } from '../shared/pool.ts';
import { renameHome } from '../shared/renamed.ts';
import {
  exists,
  isEmpty,
  renameDurably,
  replaceDirectory,
  syncFileSystem,
} from '../shared/storage-files.ts';
import { discard, makeInOneStep, sweeper, withTemporary } from '../shared/temporary.ts';
import { directoryTrash } from '../shared/trash.ts';
import { flushShared } from './flush.ts';
import { directoryStorage } from './storage.ts';

/**
 * Volumes as directories of one file system, which may be shared by the hosts (NFS, CephFS …).
 *
 *     VOLUME_DIR/directory/NAME/data               the content, bind-mounted
 *     VOLUME_DIR/directory/NAME/snapshots/SNAPSHOT
 *     VOLUME_DIR/directory/NAME/data.old           only in the middle of a restore
 *     VOLUME_DIR/directory/.trash/NAME@ID          removed volumes: shared/trash.ts
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
      copies: true,
      hostOnly: false,
    },
    options,
    programs: {},

    parseOptions({ uid, gid, mode, keep, 'mount-options': words, ...unknown }) {
      for (const name of Object.keys(unknown)) {
        throw new InvalidRequestError(
          name === 'size'
            ? 'the directory driver can\'t limit the size of a volume: leave "size" out, or use the image driver, which can'
            : `the directory driver does not know the option ${JSON.stringify(name)}: use ${Object.keys(options).join(', ')}`,
        );
      }
      return {
        ...parseOwner({ uid, gid, mode }),
        ...parseKeep(keep),
        'mount-options': mounting.parse(words),
      };
    },

    async create(volume, context) {
      beginSweep();
      const { home, data, hasData, wasTorn } = await settled(volume, context);
      if (hasData) {
        // A Create that a crash has ended may have made it for another owner.
        if (!wasTorn && (await isEmpty(data))) await giveOwner(data, ownerOf(volume));
        return 'found';
      }
      await makeInOneStep(home, (made) => makeEmpty(made, ownerOf(volume)), context.signal);
      return 'made';
    },

    async remove(volume, context) {
      beginSweep();
      const { home } = paths(volume);
      await discard(home, base, context, { tell: tellOf(volume), names: ['data', 'snapshots'] });
    },

    async mount(volume, mountpoint, context) {
      beginSweep();
      const data = await existingData(volume, context);
      context.signal.throwIfAborted();
      // Nothing is mounted on a directory that this call has made: the mount table need not be read.
      const made = await mkdir(mountpoint, { recursive: true, mode: 0o700 });
      if (made === undefined && (await currentMountsAt(mountpoint)).length > 0) {
        if (await isSameDirectory(data, mountpoint)) {
          // A crash may have come between the mount and its words.
          await addMountWords(mountpoint, mounting.words(volume), context.signal);
          return;
        }
        throw new InUseError(`something else is mounted at ${mountpoint}`);
      }
      await markUsed(paths(volume).home);
      await bindAt(mountpoint, data, mounting.words(volume), context);
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
      const data = await existingData(target.volume, context);
      const final = snapshotPath(target);
      return await withTemporary(base, async (temporary) => {
        const copy = await syncedCopy(data, join(temporary, 'data'), context);
        await confirmed(context);
        const bytes = await treeBytes(copy, context); // Containers no longer stand still.
        await replaceDirectory(copy, final, join(temporary, 'old'), context);
        return bytes;
      });
    },

    async removeSnapshot(target, context) {
      beginSweep();
      const final = snapshotPath(target);
      // What this host remembers of the name may be another volume by now, which has a snapshot of this name, too.
      await forgetNames([base, paths(target.volume).home, dirname(final)]);
      await discard(final, base, context, { tell: tellOf(target.volume) });
    },

    async restore(target, context) {
      beginSweep();
      const data = await existingData(target.volume, context);
      const { old } = paths(target.volume);
      const from = await existingSnapshot(target);
      await withTemporary(
        base,
        async (temporary) => {
          const copy = await syncedCopy(from, join(temporary, 'data'), context);
          await confirmed(context);
          // A crash between these two renames is settled by the next call: see `settled`.
          await replaceDirectory(copy, data, old, context);
          await renameDurably(old, join(temporary, 'old'));
        },
        tellOf(target.volume),
      );
    },

    async clone(source, target, context) {
      beginSweep();
      const from =
        'snapshot' in source
          ? await existingSnapshot(source)
          : await existingData(source.volume, context);
      await withTemporary(base, async (temporary) => {
        const made = join(temporary, 'volume');
        await mkdir(made, { mode: 0o700 });
        await makeSnapshots(made);
        await markFresh(made);
        await syncedCopy(from, join(made, 'data'), context, ownerOf(target));
        await confirmed(context);
        await replaceDirectory(made, paths(target).home, join(temporary, 'old'), context);
      });
    },

    async rename(volume, to, context) {
      beginSweep();
      await renameHome(base, volume.name, to, context);
    },

    // A bind mount shows which directory of its file system it is.
    owns: ({ root }) => /\/directory\/[^/]+\/data(\/\/deleted)?$/.test(root),

    pool: directoryPool(base),
    storage: directoryStorage(base),
    trash: directoryTrash(base, { beginSweep, report }),

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
    const home = childPath(base, name);
    return { home, data: join(home, 'data'), old: join(home, 'data.old') };
  }

  function snapshotPath({ volume, snapshot }: SnapshotTarget): string {
    return childPath(join(paths(volume).home, 'snapshots'), snapshot);
  }

  /**
   * Ends a restore that a crash interrupted: with no data the old content comes back; with both,
   * the new content was in place already. Only under the volume's locks.
   */
  async function settled(volume: DriverVolume, context: DriverContext) {
    const found = paths(volume);
    const look = () => allOf([exists(found.old), exists(found.data)]);
    const [hasOld, hasData] = await lookFresh([base, found.home], look);
    if (hasOld) {
      await confirmed(context);
      if (hasData) await discard(found.old, base, context);
      else await renameDurably(found.old, found.data);
    }
    return { ...found, hasData: hasOld || hasData, wasTorn: hasOld };
  }

  async function existingData(volume: DriverVolume, context: DriverContext): Promise<string> {
    const { data, hasData } = await settled(volume, context);
    if (!hasData) throw noStorage(volume);
    return data;
  }

  async function existingSnapshot(target: SnapshotTarget): Promise<string> {
    const path = snapshotPath(target);
    const { home } = paths(target.volume);
    if (await lookFresh([base, home, dirname(path)], () => exists(path))) return path;
    throw new NotFoundError(
      `the storage of snapshot ${target.volume.name}@${target.snapshot} is not there`,
    );
  }
}

const mounting = mountOptions();
const options = { ...ownerOptions, ...keepOption, ...mounting.option };

const usageTimeoutMs = 60_000;

async function makeEmpty(home: string, owner: RootOwner | undefined): Promise<void> {
  const data = join(home, 'data');
  const makeData = async () => {
    await mkdir(data);
    await chmod(data, 0o755); // Not left to the umask: a container's user has to get in.
    await giveOwner(data, owner);
  };
  await allOf([makeSnapshots(home), makeData()]);
}

async function makeSnapshots(home: string): Promise<void> {
  await mkdir(join(home, 'snapshots'), { mode: 0o700 });
}

async function syncedCopy(
  from: string,
  to: string,
  context: DriverContext,
  owner?: RootOwner,
): Promise<string> {
  await copyTree(from, to, context);
  await giveOwner(to, owner);
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
