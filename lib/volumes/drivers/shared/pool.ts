import { access, constants, link, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode } from '../../../linux/error-code.ts';
import { unmountedOnFstab } from '../../../linux/fstab.ts';
import { canonical, readMountpoints } from '../../../linux/mountinfo.ts';
import { replaceFile } from '../../../linux/state-file.ts';
import type { DriverPool } from '../driver-pool.ts';
import { syncPath } from './storage-files.ts';
import { withTemporary } from './temporary.ts';

/** The mark's name. It lies beside the volumes of one driver, because each may have its own disk. */
const markName = '.berth-pool';

/** Returns the pool of a driver that keeps its volumes as entries of the directory `base`. */
export function directoryPool(base: string): DriverPool {
  const markPath = join(base, markName);
  return {
    place: base,
    markPath,

    async look() {
      const mark = await readMark(markPath);
      const unmounted =
        mark === undefined
          ? await unmountedOnFstab(await canonical(base), await readMountpoints())
          : undefined;
      return { mark, isReadOnly: await isReadOnly(base), unmounted };
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
  };
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
