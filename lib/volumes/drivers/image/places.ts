import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { hasCode } from '../../../linux/error-code.ts';
import { currentMountsAt } from '../../../linux/mountinfo.ts';
import { NotFoundError } from '../../errors.ts';
import type { DriverVolume, SnapshotTarget } from '../driver.ts';
import { childPath } from '../shared/child-path.ts';
import { fileBytes } from '../shared/copy.ts';
import { lookFresh } from '../shared/fresh-names.ts';
import { exists } from '../shared/storage-files.ts';
import { isMountOf } from './loop-device.ts';

export const imageName = 'volume.img';
export const snapshotsName = 'snapshots';

/** Where the files of the volumes are, below the directory of the driver; the list is in driver.ts. */
export class ImagePlaces {
  readonly base: string;

  constructor(base: string) {
    this.base = base;
  }

  homeOf({ name }: Pick<DriverVolume, 'name'>): string {
    return childPath(this.base, name);
  }

  imageOf(volume: Pick<DriverVolume, 'name'>): string {
    return join(this.homeOf(volume), imageName);
  }

  snapshotOf({ volume, snapshot }: SnapshotTarget): string {
    return childPath(join(this.homeOf(volume), snapshotsName), `${snapshot}.img`);
  }

  /** Looks on the storage, not in what this host remembers of it. */
  hasImage(volume: DriverVolume): Promise<boolean> {
    return lookFresh([this.base, this.homeOf(volume)], () => exists(this.imageOf(volume)));
  }

  /** Returns the path of the image, and throws a NotFoundError if there is none. */
  async existingImage(volume: DriverVolume): Promise<string> {
    if (await this.hasImage(volume)) return this.imageOf(volume);
    throw new NotFoundError(`the storage of volume ${volume.name} is not there`);
  }

  /** Returns the path of the snapshot, and throws a NotFoundError if there is none. */
  async existingSnapshot(target: SnapshotTarget): Promise<string> {
    const image = this.snapshotOf(target);
    const directories = [this.base, this.homeOf(target.volume), dirname(image)];
    if (await lookFresh(directories, () => exists(image))) return image;
    throw new NotFoundError(
      `the storage of snapshot ${target.volume.name}@${target.snapshot} is not there`,
    );
  }

  /**
   * Returns the file that is mounted at the mountpoint: another host's takeover may have given it
   * another name. All files of the volume if nothing is mounted there.
   */
  async imagesAt(volume: DriverVolume, mountpoint: string): Promise<string[]> {
    const all = [this.imageOf(volume), ...(await asideImages(this.base, volume))];
    const top = (await currentMountsAt(mountpoint)).at(-1);
    if (all.length === 1 || top === undefined) return all;
    for (const image of all) if (await isMountOf(top, image)) return [image];
    return all;
  }
}

/** Lists the image files of a volume that other owners had before this one: takeover.ts. */
async function asideImages(base: string, volume: DriverVolume): Promise<string[]> {
  const asides = asidesOf(base, volume);
  const names = await namesIn(asides);
  return names.filter((name) => name.endsWith('.img')).map((name) => join(asides, name));
}

/** Returns the directory of what former owners may still write to. */
export function asidesOf(base: string, { name }: DriverVolume): string {
  return join(childPath(base, name), 'aside');
}

/** Lists a directory; one that is not there has no names. */
export async function namesIn(directory: string): Promise<string[]> {
  return readdir(directory).catch((error) => {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  });
}

/** Measures how much a file occupies, in bytes; 0 if there is none. */
export async function bytesIfThere(path: string): Promise<number> {
  return (await exists(path)) ? fileBytes(path) : 0;
}
