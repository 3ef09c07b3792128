import { stat } from 'node:fs/promises';
import { hasCode } from '../../linux/error-code.ts';
import type { Mount } from '../../linux/mountinfo.ts';
import { mountsAt, readMounts } from '../../linux/mountinfo.ts';

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
 * Returns those volumes whose file system writes nothing any more, after an error of its storage. It
 * reads only what the kernel has in memory, so a volume whose storage hangs does not delay it.
 */
export async function stoppedVolumes(mounted: readonly OwnFileSystem[]): Promise<OwnFileSystem[]> {
  if (mounted.length === 0) return [];
  const mounts = await readMounts();
  const stopped: OwnFileSystem[] = [];
  for (const each of mounted) {
    const top = mountsAt(mounts, each.mountpoint).at(-1);
    if (top && (await hasStopped(top))) stopped.push(each);
  }
  return stopped;
}

async function hasStopped({ fsType, superOptions, mountpoint }: Mount): Promise<boolean> {
  if (stoppedWords.some((word) => superOptions.includes(word))) return true;
  if (fsType !== 'xfs') return false;
  try {
    await stat(mountpoint); // xfs shows a shutdown in no option: it refuses every request instead.
    return false;
  } catch (error) {
    return hasCode(error, 'EIO');
  }
}
