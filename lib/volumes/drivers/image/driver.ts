import { stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { hasCode } from '../../../linux/error-code.ts';
import { thaw } from '../../../linux/freeze.ts';
import { currentMountsAt } from '../../../linux/mountinfo.ts';
import { shutDown } from '../../../linux/shut-down.ts';
import { InUseError } from '../../errors.ts';
import type { DriverPlace, DriverVolume, VolumeDriver } from '../driver.ts';
import { confirmed } from '../shared/confirmed.ts';
import { fileBytes } from '../shared/copy.ts';
import { markUsed } from '../shared/fresh-copy.ts';
import { lookFresh } from '../shared/fresh-names.ts';
import { detachAt, removeMountpoint, unmountAt } from '../shared/mountpoint.ts';
import { directoryPool } from '../shared/pool.ts';
import { renameHome } from '../shared/renamed.ts';
import { exists } from '../shared/storage-files.ts';
import { discard, makeInOneStep, sweeper } from '../shared/temporary.ts';
import { directoryTrash } from '../shared/trash.ts';
import { abandonCopies, endCopies, mountedAgain } from './copies.ts';
import { DeadDevices } from './dead-devices.ts';
import { growBeforeMount, growMounted } from './grow.ts';
import { isUnused, makeImage, mountImage } from './image-file.ts';
import { isMountedAt, isMountOf, waitUntilDetached } from './loop-device.ts';
import { imageOptions, parseImageOptions, readOptions } from './options.ts';
import { OwnDevices } from './own-devices.ts';
import { bytesIfThere, ImagePlaces, imageName } from './places.ts';
import { imagePrograms } from './programs.ts';
import { imageSnapshots, makeSnapshots } from './snapshots.ts';
import { fromStage, stagedImage } from './stage.ts';
import { imageStorage } from './storage.ts';
import { endStranded } from './stranded.ts';
import { imageTakeover } from './takeover.ts';

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
  const places = new ImagePlaces(base);
  const untilDetached = (volume: DriverVolume, signal: AbortSignal) =>
    waitUntilDetached(`volume ${volume.name}`, places.imageOf(volume), signal, dead);

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
      const isThere = await places.hasImage(volume);
      if (isThere) {
        if (!(await isMadeOnly(volume))) return 'found';
        await discard(places.homeOf(volume), base, context, { tell: tellOf(volume) });
      }
      const wanted = readOptions(volume);
      const fill = async (home: string) => {
        await makeSnapshots(home);
        await makeImage(join(home, imageName), wanted, context);
      };
      await makeInOneStep(places.homeOf(volume), fill, context.signal);
      return isThere ? 'found' : 'made';
    },

    async remove(volume, context) {
      beginSweep();
      context.signal.throwIfAborted();
      if (!(await lookFresh([base], () => exists(places.homeOf(volume))))) return;
      await untilDetached(volume, context.signal);
      await discard(places.homeOf(volume), base, context, { tell: tellOf(volume) });
    },

    async mount(volume, mountpoint, context) {
      beginSweep();
      const image = await places.existingImage(volume);
      const top = (await currentMountsAt(mountpoint)).at(-1);
      if (top) {
        if (await isMountOf(top, image)) return;
        throw new InUseError(`something else is mounted at ${mountpoint}`);
      }
      const { words } = readOptions(volume);
      if (context.isContinued && (await mountedAgain(image, mountpoint, { words, own }, context)))
        return;
      const staged = await stagedImage(places.homeOf(volume), image, { owner, context });
      await untilDetached(volume, context.signal);
      await markUsed(places.homeOf(volume));
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
      const [image] = await places.imagesAt(volume, mountpoint);
      if (image !== undefined) await growMounted(image, readOptions(volume), mountpoint, context);
    },

    async unmount(volume, mountpoint, context) {
      context.signal.throwIfAborted();
      // Unmounted while frozen, it would stay in the kernel, out of reach, until a reboot.
      await thaw(mountpoint);
      await unmountAt(mountpoint, context);
      await endStranded(places.imageOf(volume), mountpoint, thaw, own, context); // Frozen again meanwhile.
      const { words } = readOptions(volume);
      const unmounted = {
        volume: volume.name,
        image: places.imageOf(volume),
        mountpoint,
        words,
        own,
      };
      const kept = await endCopies(unmounted, context);
      if (kept !== undefined) report?.(volume.name, kept);
    },

    async abandon(volume, mountpoint, context) {
      context.signal.throwIfAborted();
      const images = await places.imagesAt(volume, mountpoint);
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

    ...imageSnapshots({ places, beginSweep, untilDetached, tellOf }),

    async rename(volume, to, context) {
      beginSweep();
      await untilDetached(volume, context.signal);
      await renameHome(base, volume.name, to, context);
    },

    // The volumes of other drivers may lie on a loop device, too, but are parts of its file system.
    owns: ({ source, root }) => source.startsWith('/dev/loop') && root === '/',

    pool: directoryPool(base),
    storage,
    trash: directoryTrash(base, {
      beginSweep,
      report,
      unused: (volume, { signal }) => untilDetached(volume, signal),
    }),

    takeover: imageTakeover(base),

    promisedBytes: (volume) => readOptions(volume).size,

    async occupied(volume) {
      const snapshots = (await storage.find(volume.name))?.snapshots ?? [];
      const images = snapshots.map((snapshot) => places.snapshotOf({ volume, snapshot }));
      return {
        volumeBytes: await bytesIfThere(places.imageOf(volume)),
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
      const image = await places.existingImage(volume);
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

  /**
   * Returns true if an image was made and never mounted, with no snapshot: a crash has come between its
   * Create and the record, and the next Create may ask for another size or owner.
   */
  async function isMadeOnly(volume: DriverVolume): Promise<boolean> {
    if (!(await isUnused(places.imageOf(volume)))) return false;
    return ((await storage.find(volume.name))?.snapshots ?? []).length === 0;
  }
}
