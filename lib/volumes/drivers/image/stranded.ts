import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { processFile, processIds } from '../../../linux/proc.ts';
import type { DriverContext } from '../driver.ts';
import { detachAt, mountAt } from '../shared/mountpoint.ts';
import { exists } from '../shared/storage-files.ts';
import { writableLoopDevices } from './loop-device.ts';

/** How long one takes that ends by itself. */
const endMs = 500;

/**
 * Ends the file system of an image that is mounted nowhere and still in the kernel, with its device:
 * it was frozen just as it was unmounted. Nothing but a thaw frees it, and nothing can be thawed
 * that is not mounted, so it is mounted once more, as it is, for `end` to let it go.
 */
export async function endStranded(
  image: string,
  mountpoint: string,
  end: (mountpoint: string) => Promise<void>,
  context: DriverContext,
): Promise<void> {
  for (const device of await writableLoopDevices(image)) {
    if (!(await isStranded(device))) continue;
    await sleep(endMs);
    if (!(await isStranded(device))) continue;
    // One that has ended all the same is not to be opened again: with this, that is refused where
    // it would write.
    await mountAt(mountpoint, ['-o', 'norecovery', device], context);
    await end(mountpoint);
    await detachAt(mountpoint, context);
  }
}

/** The kernel has its file system, and no process sees it. */
async function isStranded(device: string): Promise<boolean> {
  const name = basename(device);
  const known = ['ext4', 'xfs'].map((fs) => exists(join('/sys/fs', fs, name)));
  if (!(await Promise.all(known)).includes(true)) return false;
  for (const pid of await processIds()) {
    if ((await processFile(pid, 'mountinfo'))?.includes(` ${device} `)) return false;
  }
  return true;
}
