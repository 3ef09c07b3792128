import { access, constants, link, readFile, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { hasCode } from '../../../linux/error-code.ts';
import { unmountedOnFstab } from '../../../linux/fstab.ts';
import { canonical, readMountpoints } from '../../../linux/mountinfo.ts';
import { replaceFile } from '../../../linux/state-file.ts';
import type { DriverPool, PoolSpace } from '../driver-pool.ts';
import { lookFresh } from './fresh-names.ts';
import { syncPath } from './storage-files.ts';
import { withTemporary } from './temporary.ts';

/** The mark's name. It lies beside the volumes of one driver, because each may have its own disk. */
const markName = '.berth-pool';

/** Returns the pool of a driver that keeps its volumes as entries of the directory `base`. */
export function directoryPool(base: string): DriverPool {
  const markPath = join(base, markName);
  const freshMark = () =>
    lookFresh([dirname(dirname(base)), dirname(base), base], () => readMark(markPath));
  return {
    place: base,
    markPath,

    async look() {
      const [seen, isWriteProtected] = await Promise.all([readMark(markPath), isReadOnly(base)]);
      const mark = seen ?? (await freshMark());
      const unmounted =
        mark === undefined
          ? await unmountedOnFstab(await canonical(base), await readMountpoints())
          : undefined;
      return { mark, isReadOnly: isWriteProtected, unmounted };
    },

    mark: (cluster) =>
      withTemporary(base, async (temporary) => {
        const made = join(temporary, 'mark');
        await replaceFile(made, `${cluster}\n`);
        try {
          await link(made, markPath); // Unlike a rename it never replaces a mark.
        } catch (error) {
          if (!hasCode(error, 'EEXIST')) throw error;
        }
        await syncPath(base);
      }),

    space: () => spaceAt(base),
  };
}

/** The types of statfs(2) whose files can share blocks; a server's files are not known to be unshared. */
const sharing: ReadonlySet<number> = new Set([
  0x58465342, // xfs
  0x9123683e, // btrfs
  0x6969, // NFS
  0xff534d42, // CIFS
  0x65735546, // FUSE
]);

async function spaceAt(path: string): Promise<PoolSpace> {
  try {
    const { type, bsize, blocks, bfree, bavail, files, ffree } = await statfs(path);
    const [{ dev }, root] = [await stat(path), await stat('/')];
    return {
      // The blocks that ext4 keeps for root count as absent.
      totalBytes: (blocks - (bfree - bavail)) * bsize,
      freeBytes: bavail * bsize,
      freeFiles: files === 0 ? 1 : ffree / files,
      sharesBlocks: sharing.has(type),
      isOnRoot: dev === root.dev,
    };
  } catch (error) {
    const parent = dirname(path);
    if (!hasCode(error, 'ENOENT') || parent === path) throw error;
    return spaceAt(parent);
  }
}

/** Reads the first line; a file without one is no mark. */
async function readMark(path: string): Promise<string | undefined> {
  try {
    const [line = ''] = (await readFile(path, 'utf8')).split('\n');
    return line.trim() || undefined;
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
}

/** Root may write everywhere but on a file system that is mounted read-only (access(2)). */
async function isReadOnly(path: string): Promise<boolean> {
  try {
    await access(path, constants.W_OK);
    return false;
  } catch (error) {
    if (hasCode(error, 'EROFS')) return true;
    if (hasCode(error, 'ENOENT', 'ENOTDIR', 'EACCES')) return false;
    throw error;
  }
}
