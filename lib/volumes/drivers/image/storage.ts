import { open, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { childPath } from '../shared/child-path.ts';
import { isFresh } from '../shared/fresh-copy.ts';
import { lookFresh } from '../shared/fresh-names.ts';
import { exists } from '../shared/storage-files.ts';
import { abandonedIn, sweep } from '../shared/temporary.ts';
import type { DriverStorage, Leftover } from '../stored-volume.ts';
import { visibleNames } from '../stored-volume.ts';
import type { FileSystem } from './image-file.ts';
import { isUnused } from './image-file.ts';
import { detach, idleLoopDevices } from './loop-device.ts';
import type { OwnDevices } from './own-devices.ts';
import { imageName, snapshotsName } from './places.ts';

/** Lists what the image driver stores; driver.ts draws its layout. `own`: tells the devices of this daemon. */
export function imageStorage(base: string, own: Pick<OwnDevices, 'without'>): DriverStorage {
  return {
    names: () => visibleNames(base),

    async find(name) {
      const home = childPath(base, name);
      if (!(await lookFresh([base], () => exists(home)))) return undefined;
      const image = join(home, imageName);
      const snapshots = (await visibleNames(join(home, snapshotsName)))
        .filter((file) => file.endsWith(suffix))
        .map((file) => file.slice(0, -suffix.length));
      const known = {
        name,
        isTorn: false,
        snapshots,
        changedAt: (await stat(home)).mtime.toISOString(),
        isFreshCopy: await isFresh(home),
      };
      if (!(await exists(image))) return { ...known, options: {}, content: 'missing' };
      const { fs, wasMounted } = await superblockOf(image);
      const size = String((await stat(image)).size);
      return {
        ...known,
        options: fs === undefined ? {} : { size, fs },
        content: wasMounted ? 'some' : 'empty',
      };
    },

    async leftovers() {
      const devices = await idleDevices();
      return [...(await abandonedIn(base)), ...devices.map((what): Leftover => ({ what }))];
    },

    async sweep() {
      const kept = await sweep(base);
      for (const device of await idleDevices()) await detach(device);
      return kept;
    },
  };

  /**
   * Lists devices that somebody attached by hand; the kernel frees those of a mount. Another daemon of this machine
   * has devices for a moment that it has not mounted yet.
   */
  async function idleDevices(): Promise<string[]> {
    if (!(await exists(base))) return [];
    return own.without(await idleLoopDevices(await realpath(base)));
  }
}

const suffix = '.img';

/**
 * Reads which file system is in an image, and whether it was ever mounted: only then can it hold
 * anything.
 */
async function superblockOf(
  image: string,
): Promise<{ readonly fs: FileSystem | undefined; readonly wasMounted: boolean }> {
  await using file = await open(image, 'r');
  const start = Buffer.alloc(2048);
  await file.read(start, 0, start.length, 0);
  const wasMounted = !(await isUnused(image));
  if (start.toString('latin1', 0, 4) === 'XFSB') return { fs: 'xfs', wasMounted };
  const ext4 = start.subarray(1024);
  if (ext4.readUInt16LE(0x38) !== 0xef53) return { fs: undefined, wasMounted: true };
  // ext4 records it itself; an image of an earlier release has no other proof.
  const [mountedAt, mountCount] = [ext4.readUInt32LE(0x2c), ext4.readUInt16LE(0x34)];
  return { fs: 'ext4', wasMounted: mountedAt !== 0 || mountCount !== 0 };
}
