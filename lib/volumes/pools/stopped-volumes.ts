import createDebug from 'debug';
import { mountsAt, readMountsAt } from '../../linux/mountinfo.ts';

const debug = createDebug('berth:pool');

/** A mounted volume that has a file system of its own. */
export interface OwnFileSystem {
  readonly volume: string;
  readonly mountpoint: string;
}

/**
 * Options that ext4 shows when it has stopped writing after an error: `ro` with `errors=remount-ro`,
 * `emergency_ro` since Linux 6.16, `shutdown` after a shutdown (fs/ext4/super.c).
 */
const stoppedWords = ['ro', 'emergency_ro', 'shutdown'];

/**
 * Returns those volumes whose file system writes nothing any more, after an error of its storage. Reads the
 * kernel's mount table. xfs shows a shutdown in no option: `hasShutDown` asks such a file system, in
 * another process, because it may hang; it counts as going on while the answer is not known.
 */
export async function stoppedVolumes<T extends OwnFileSystem>(
  mounted: readonly T[],
  hasShutDown: (volume: T) => Promise<boolean>,
): Promise<T[]> {
  if (mounted.length === 0) return [];
  const mounts = await readMountsAt(new Set(mounted.map(({ mountpoint }) => mountpoint)));
  const hasStopped = async (each: T) => {
    const top = mountsAt(mounts.get(each.mountpoint) ?? [], each.mountpoint).at(-1);
    if (top === undefined) return false;
    if (stoppedWords.some((word) => top.superOptions.includes(word))) return true;
    if (top.fsType !== 'xfs') return false;
    return hasShutDown(each).catch((error) => {
      debug('volume=%s: %s', each.volume, error); // Storage that does not answer is a condition itself.
      return false;
    });
  };
  const found = await Promise.all(mounted.map(hasStopped));
  return mounted.filter((_, index) => found[index]);
}
