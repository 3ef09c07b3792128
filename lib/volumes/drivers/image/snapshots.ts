import { mkdir, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { freeze } from '../../../linux/freeze.ts';
import type { DriverContext, DriverVolume, LiveSource, VolumeDriver } from '../driver.ts';
import { confirmed } from '../shared/confirmed.ts';
import { copyFile } from '../shared/copy.ts';
import { markFresh } from '../shared/fresh-copy.ts';
import { forgetNames } from '../shared/fresh-names.ts';
import { putInFreePlace, putInPlace, replaceDirectory, syncPath } from '../shared/storage-files.ts';
import { discard, withTemporary } from '../shared/temporary.ts';
import { makeOwn } from './image-file.ts';
import { isMountedAt } from './loop-device.ts';
import { readOptions, sameOptions } from './options.ts';
import type { ImagePlaces } from './places.ts';
import { bytesIfThere, imageName, snapshotsName } from './places.ts';
import { reserveSpace } from './reserve.ts';
import { fromStage, onStage } from './stage.ts';

interface ImageSnapshotsOptions {
  readonly places: ImagePlaces;
  readonly beginSweep: () => void;
  /** Resolves when no kernel has the image any more. */
  readonly untilDetached: (volume: DriverVolume, signal: AbortSignal) => Promise<void>;
  /** Returns how to tell the operator of a volume what could not be deleted. */
  readonly tellOf: (volume: DriverVolume) => (message: string) => void;
}

/** The methods of the driver that copy images: each copy is made aside and put in place in one step. */
export function imageSnapshots({
  places,
  beginSweep,
  untilDetached,
  tellOf,
}: ImageSnapshotsOptions): Pick<VolumeDriver, 'snapshot' | 'removeSnapshot' | 'restore' | 'clone'> {
  const { base } = places;

  return {
    async snapshot(target, context) {
      beginSweep();
      const image = places.snapshotOf(target);
      await places.existingImage(target.volume);
      await withTemporary(base, async (temporary) => {
        const copy = join(temporary, 'snapshot.img');
        await copyLive(target, copy, context);
        await discard(image, base, context, { tell: tellOf(target.volume) });
        await confirmed(context);
        await putInFreePlace(copy, image); // Another host may have made one since.
      });
      return await bytesIfThere(image);
    },

    async removeSnapshot(target, context) {
      beginSweep();
      const image = places.snapshotOf(target);
      // What this host remembers of the name may be another volume by now, which has a snapshot of this name, too.
      await forgetNames([base, places.homeOf(target.volume), dirname(image)]);
      await discard(image, base, context, { tell: tellOf(target.volume) });
    },

    async restore(target, context) {
      beginSweep();
      const image = await places.existingImage(target.volume);
      await untilDetached(target.volume, context.signal);
      await onStage(places.homeOf(target.volume), context, (stage) =>
        withTemporary(base, async (temporary) => {
          const copy = join(temporary, imageName);
          const restored = join(stage, imageName);
          await copyImage(await places.existingSnapshot(target), copy, target.volume, context);
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
      await untilDetached(target, context.signal);
      const snapshot = 'snapshot' in source ? await places.existingSnapshot(source) : undefined;
      if (snapshot === undefined) await places.existingImage(source.volume);
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
        await replaceDirectory(made.home, places.homeOf(target), join(temporary, 'old'), context);
      });
    },
  };

  /** Copies the image of a volume that may be mounted here, and may be in use. */
  async function copyLive(source: LiveSource, to: string, context: DriverContext): Promise<void> {
    const image = await places.existingImage(source.volume);
    const { mountpoint } = source;
    if (mountpoint !== undefined && (await isMountedAt(image, mountpoint))) {
      await using _frozen = await freeze(mountpoint);
      await copyImage(image, to, source.volume, context);
    } else {
      await untilDetached(source.volume, context.signal);
      await copyImage(image, to, source.volume, context);
    }
  }
}

/** Makes the directory of the snapshots in that of a volume. */
export async function makeSnapshots(home: string): Promise<void> {
  await mkdir(join(home, snapshotsName), { mode: 0o700 });
}

async function makeHome(temporary: string) {
  const home = join(temporary, 'volume');
  await mkdir(home, { mode: 0o700 });
  await makeSnapshots(home);
  return { home, image: join(home, imageName) };
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
