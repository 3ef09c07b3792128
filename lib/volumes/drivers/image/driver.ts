import { mkdir, rename, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { hasCode } from '../../../linux/error-code.ts';
import { freeze, thaw } from '../../../linux/freeze.ts';
import type { Mount } from '../../../linux/mountinfo.ts';
import { currentMountsAt } from '../../../linux/mountinfo.ts';
import { shutDown } from '../../../linux/shut-down.ts';
import { InUseError, NotFoundError } from '../../errors.ts';
import type {
  DriverContext,
  DriverPlace,
  DriverVolume,
  LiveSource,
  SnapshotTarget,
  VolumeDriver,
} from '../driver.ts';
import { childPath } from '../shared/child-path.ts';
import { confirmed } from '../shared/confirmed.ts';
import { copyFile, fileBytes } from '../shared/copy.ts';
import { markFresh, markUsed } from '../shared/fresh-copy.ts';
import { forgetNames, lookFresh } from '../shared/fresh-names.ts';
import { detachAt, removeMountpoint, unmountAt } from '../shared/mountpoint.ts';
import { directoryPool } from '../shared/pool.ts';
import { renameHome } from '../shared/renamed.ts';
import {
  exists,
  putInFreePlace,
  putInPlace,
  replaceDirectory,
  syncPath,
} from '../shared/storage-files.ts';
import { discard, makeInOneStep, sweeper, withTemporary } from '../shared/temporary.ts';
import { directoryTrash } from '../shared/trash.ts';
import { abandonCopies, endCopies, mountedAgain } from './copies.ts';
import { DeadDevices } from './dead-devices.ts';
import { growBeforeMount, growMounted } from './grow.ts';
import { isUnused, makeImage, makeOwn, mountImage } from './image-file.ts';
import { waitUntilDetached, writableLoopDevices } from './loop-device.ts';
import { imageOptions, parseImageOptions, readOptions, sameOptions } from './options.ts';
import { OwnDevices } from './own-devices.ts';
import { imagePrograms } from './programs.ts';
import { reserveSpace } from './reserve.ts';
import { fromStage, onStage, stagedImage } from './stage.ts';
import { imageStorage } from './storage.ts';
import { endStranded } from './stranded.ts';
import { asideImages, imageTakeover } from './takeover.ts';

/**
 * Volumes as image files, each with a file system of its own, so that the size is a limit that
 * holds. The files may lie on a shared file system, but only one host may mount one at a time.
 *
 *     VOLUME_DIR/image/NAME/volume.img
 *     VOLUME_DIR/image/NAME/snapshots/SNAPSHOT.img
 *     VOLUME_DIR/image/NAME/aside/                  what former owners may still write to: takeover.ts
 *     VOLUME_DIR/image/NAME/.stage-TOKEN[.OWNER]/   names that one holder of the lock uses: stage.ts
 *     VOLUME_DIR/image/.trash/NAME@ID               removed volumes: shared/trash.ts
 *     VOLUME_DIR/image/.tmp-*                       things half made or half deleted
 *
 * An image occupies what was written to it. A copy shares its blocks on btrfs and xfs, so that a
 * mounted volume stands still for some milliseconds only; elsewhere for as long as the copy takes.
 */
export function imageDriver({ volumeDir, hostDir, owner, report }: DriverPlace): VolumeDriver {
  const base = join(volumeDir, 'image');
  const beginSweep = sweeper(base);
  const dead = new DeadDevices(hostDir && join(hostDir, 'dead-devices'));
  const own = new OwnDevices({ owner, dead });
  const storage = imageStorage(base, own);
  const untilDetached = (what: string, image: string, signal: AbortSignal) =>
    waitUntilDetached(what, image, signal, dead);

  return {
    name: 'image',
    capabilities: {
      size: true,
      multiHostMount: false,
      copyNeedsQuiet: true,
      ownsFileSystem: true,
      copies: true,
      hostOnly: false,
    },
    options: imageOptions,
    programs: imagePrograms,
    parseOptions: parseImageOptions,

    async create(volume, context) {
      beginSweep();
      const isThere = await hasImage(volume);
      if (isThere) {
        if (!(await isMadeOnly(volume))) return 'found';
        await discard(homeOf(volume), base, context, { tell: tellOf(volume) });
      }
      const wanted = readOptions(volume);
      const fill = async (home: string) => {
        await makeSnapshots(home);
        await makeImage(join(home, imageName), wanted, context);
      };
      await makeInOneStep(homeOf(volume), fill, context.signal);
      return isThere ? 'found' : 'made';
    },

    async remove(volume, context) {
      beginSweep();
      context.signal.throwIfAborted();
      if (!(await lookFresh([base], () => exists(homeOf(volume))))) return;
      await untilDetached(`volume ${volume.name}`, imageOf(volume), context.signal);
      await discard(homeOf(volume), base, context, { tell: tellOf(volume) });
    },

    async mount(volume, mountpoint, context) {
      beginSweep();
      const image = await existingImage(volume);
      const top = (await currentMountsAt(mountpoint)).at(-1);
      if (top) {
        if (await isMountOf(top, image)) return;
        throw new InUseError(`something else is mounted at ${mountpoint}`);
      }
      const { words } = readOptions(volume);
      if (context.isContinued && (await mountedAgain(image, mountpoint, { words, own }, context)))
        return;
      const staged = await stagedImage(homeOf(volume), image, { owner, context });
      await untilDetached(`volume ${volume.name}`, image, context.signal);
      await markUsed(homeOf(volume));
      await confirmed(context);
      const wanted = readOptions(volume);
      const mount = async () => {
        const growsMounted = await growBeforeMount(staged ?? image, wanted, context);
        await mountImage(staged ?? image, wanted, mountpoint, context);
        if (growsMounted) await growMounted(staged ?? image, wanted, mountpoint, context);
      };
      await (staged === undefined ? mount() : fromStage(dirname(staged), mount));
    },

    async grow(volume, mountpoint, context) {
      if ((await currentMountsAt(mountpoint)).length === 0) return; // Its next mount does it.
      const [image] = await imagesAt(volume, mountpoint);
      if (image !== undefined) await growMounted(image, readOptions(volume), mountpoint, context);
    },

    async unmount(volume, mountpoint, context) {
      context.signal.throwIfAborted();
      // Unmounted while frozen, it would stay in the kernel, out of reach, until a reboot.
      await thaw(mountpoint);
      await unmountAt(mountpoint, context);
      await endStranded(imageOf(volume), mountpoint, thaw, own, context); // Frozen again meanwhile.
      const { words } = readOptions(volume);
      const unmounted = { volume: volume.name, image: imageOf(volume), mountpoint, words, own };
      const kept = await endCopies(unmounted, context);
      if (kept !== undefined) report?.(volume.name, kept);
    },

    async abandon(volume, mountpoint, context) {
      context.signal.throwIfAborted();
      const images = await imagesAt(volume, mountpoint);
      await shutDown(mountpoint);
      await detachAt(mountpoint, context);
      for (const image of images) {
        await endStranded(image, mountpoint, shutDown, own, context);
        await abandonCopies(image, mountpoint, own);
      }
      await removeMountpoint(mountpoint); // The kernel removes the copies of the mount with it.
      for (const image of images) {
        await waitUntilDetached(`volume ${volume.name}`, image, context.signal, own);
      }
    },

    async snapshot(target, context) {
      beginSweep();
      await existingImage(target.volume);
      await withTemporary(base, async (temporary) => {
        const copy = join(temporary, 'snapshot.img');
        await copyLive(target, copy, context);
        await discard(snapshotImage(target), base, context, { tell: tellOf(target.volume) });
        await confirmed(context);
        await putInFreePlace(copy, snapshotImage(target)); // Another host may have made one since.
      });
      return await bytesIfThere(snapshotImage(target));
    },

    async removeSnapshot(target, context) {
      beginSweep();
      const image = snapshotImage(target);
      // What this host remembers of the name may be another volume by now, which has a snapshot of this name, too.
      await forgetNames([base, homeOf(target.volume), dirname(image)]);
      await discard(image, base, context, { tell: tellOf(target.volume) });
    },

    async restore(target, context) {
      beginSweep();
      const image = await existingImage(target.volume);
      await untilDetached(`volume ${target.volume.name}`, image, context.signal);
      await onStage(homeOf(target.volume), context, (stage) =>
        withTemporary(base, async (temporary) => {
          const copy = join(temporary, imageName);
          const restored = join(stage, imageName);
          await copyImage(await existingSnapshot(target), copy, target.volume, context);
          await reserveIfAsked(copy, target.volume, context);
          await fromStage(stage, async () => {
            await rename(copy, restored);
            await confirmed(context);
            await putInPlace(restored, image);
          });
        }),
      );
    },

    async clone(source, target, context) {
      beginSweep();
      const wanted = sameOptions(source.volume, target);
      await untilDetached(`volume ${target.name}`, imageOf(target), context.signal);
      const snapshot = 'snapshot' in source ? await existingSnapshot(source) : undefined;
      if (snapshot === undefined) await existingImage(source.volume);
      await withTemporary(base, async (temporary) => {
        const made = await makeHome(temporary);
        if (snapshot !== undefined) {
          await copyImage(snapshot, made.image, target, context);
        } else {
          await copyLive(source, made.image, context);
        }
        await makeOwn(made.image, wanted, context);
        await reserveIfAsked(made.image, target, context);
        await markFresh(made.home);
        await syncPath(made.image);
        await confirmed(context);
        await replaceDirectory(made.home, homeOf(target), join(temporary, 'old'), context);
      });
    },

    async rename(volume, to, context) {
      beginSweep();
      await untilDetached(`volume ${volume.name}`, imageOf(volume), context.signal);
      await renameHome(base, volume.name, to, context);
    },

    // The volumes of other drivers may lie on a loop device, too, but are parts of its file system.
    owns: ({ source, root }) => source.startsWith('/dev/loop') && root === '/',

    pool: directoryPool(base),
    storage,
    trash: directoryTrash(base, {
      beginSweep,
      report,
      unused: (volume, { signal }) =>
        untilDetached(`volume ${volume.name}`, imageOf(volume), signal),
    }),

    takeover: imageTakeover(base),

    promisedBytes: (volume) => readOptions(volume).size,

    async occupied(volume) {
      const snapshots = (await storage.find(volume.name))?.snapshots ?? [];
      const images = snapshots.map((snapshot) => snapshotImage({ volume, snapshot }));
      return {
        volumeBytes: await bytesIfThere(imageOf(volume)),
        snapshotsBytes: await Promise.all(images.map(bytesIfThere)),
      };
    },

    async recover(mountpoint) {
      await thaw(mountpoint);
    },

    async hasShutDown(_volume, mountpoint) {
      try {
        await stat(mountpoint); // xfs refuses every request then; ext4 shows it as an option.
        return false;
      } catch (error) {
        return hasCode(error, 'EIO');
      }
    },

    async usage(volume, mountpoint) {
      const image = await existingImage(volume);
      const { size: sizeBytes } = readOptions(volume);
      if (mountpoint === undefined || !(await isMountedAt(image, mountpoint))) {
        return { usedBytes: await fileBytes(image), sizeBytes };
      }
      const { blocks, bfree, bsize } = await statfs(mountpoint);
      return { usedBytes: (blocks - bfree) * bsize, sizeBytes };
    },
  };

  function tellOf({ name }: DriverVolume) {
    return (message: string) => report?.(name, message);
  }

  function homeOf({ name }: DriverVolume): string {
    return childPath(base, name);
  }

  function imageOf(volume: DriverVolume): string {
    return join(homeOf(volume), imageName);
  }

  function snapshotImage({ volume, snapshot }: SnapshotTarget): string {
    return childPath(join(homeOf(volume), snapshotsName), `${snapshot}.img`);
  }

  function hasImage(volume: DriverVolume): Promise<boolean> {
    return lookFresh([base, homeOf(volume)], () => exists(imageOf(volume)));
  }

  async function existingImage(volume: DriverVolume): Promise<string> {
    if (await hasImage(volume)) return imageOf(volume);
    throw new NotFoundError(`the storage of volume ${volume.name} is not there`);
  }

  async function existingSnapshot(target: SnapshotTarget): Promise<string> {
    const image = snapshotImage(target);
    const directories = [base, homeOf(target.volume), dirname(image)];
    if (await lookFresh(directories, () => exists(image))) return image;
    throw new NotFoundError(
      `the storage of snapshot ${target.volume.name}@${target.snapshot} is not there`,
    );
  }

  /**
   * Returns the file that is mounted at the mountpoint: another host's takeover may have given it
   * another name. All files of the volume if nothing is mounted there.
   */
  async function imagesAt(volume: DriverVolume, mountpoint: string): Promise<string[]> {
    const all = [imageOf(volume), ...(await asideImages(base, volume))];
    const top = (await currentMountsAt(mountpoint)).at(-1);
    if (all.length === 1 || top === undefined) return all;
    for (const image of all) if (await isMountOf(top, image)) return [image];
    return all;
  }

  /**
   * Returns true if an image was made and never mounted, with no snapshot: a crash has come between its
   * Create and the record, and the next Create may ask for another size or owner.
   */
  async function isMadeOnly(volume: DriverVolume): Promise<boolean> {
    if (!(await isUnused(imageOf(volume)))) return false;
    return ((await storage.find(volume.name))?.snapshots ?? []).length === 0;
  }

  /** Copies the image of a volume that may be mounted here, and may be in use. */
  async function copyLive(source: LiveSource, to: string, context: DriverContext): Promise<void> {
    const image = await existingImage(source.volume);
    const { mountpoint } = source;
    if (mountpoint !== undefined && (await isMountedAt(image, mountpoint))) {
      await using _frozen = await freeze(mountpoint);
      await copyImage(image, to, source.volume, context);
    } else {
      await untilDetached(`volume ${source.volume.name}`, image, context.signal);
      await copyImage(image, to, source.volume, context);
    }
  }
}

const imageName = 'volume.img';
const snapshotsName = 'snapshots';

async function makeHome(temporary: string) {
  const home = join(temporary, 'volume');
  await mkdir(home, { mode: 0o700 });
  await makeSnapshots(home);
  return { home, image: join(home, imageName) };
}

async function makeSnapshots(home: string): Promise<void> {
  await mkdir(join(home, snapshotsName), { mode: 0o700 });
}

/**
 * Copies an image or a snapshot that nobody writes to now. A volume with its own space shares no
 * blocks with its copies: its next write to a shared block would need another one.
 */
async function copyImage(
  from: string,
  to: string,
  volume: DriverVolume,
  context: DriverContext,
): Promise<void> {
  await copyFile(from, to, context, { sharesBlocks: readOptions(volume).reserve !== 'yes' });
  await syncPath(to);
  context.signal.throwIfAborted();
}

async function reserveIfAsked(
  image: string,
  volume: DriverVolume,
  context: DriverContext,
): Promise<void> {
  const { reserve, size } = readOptions(volume);
  if (reserve === 'yes') await reserveSpace(image, size, context);
}

/** Measures how much a file occupies; 0 if there is none. */
async function bytesIfThere(path: string): Promise<number> {
  return (await exists(path)) ? fileBytes(path) : 0;
}

/** Whether the file system in this very image is the one that is seen at the mountpoint. */
async function isMountedAt(image: string, mountpoint: string): Promise<boolean> {
  const top = (await currentMountsAt(mountpoint)).at(-1);
  return top !== undefined && (await isMountOf(top, image));
}

async function isMountOf({ source }: Mount, image: string): Promise<boolean> {
  return (await writableLoopDevices(image)).includes(source);
}
