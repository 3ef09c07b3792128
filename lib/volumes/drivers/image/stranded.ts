import { setTimeout as sleep } from 'node:timers/promises';
import { processFile, processIds } from '../../../linux/proc.ts';
import type { DriverContext } from '../driver.ts';
import { detachAt, mountAt } from '../shared/mountpoint.ts';
import { hasFileSystem, openDevice } from './loop-device.ts';
import type { OwnDevices } from './own-devices.ts';

/** A file system that is shutting down normally is gone after this. */
const endMs = 500;

/**
 * Ends this daemon's file system of an image that is mounted nowhere but still in the kernel, with its device:
 * it was frozen just as it was unmounted. Only a thaw frees it, and only a mounted file system can
 * be thawed, so this mounts it once more, unchanged, for `end` to thaw it or shut it down.
 */
export async function endStranded(
  image: string,
  mountpoint: string,
  end: (mountpoint: string) => Promise<void>,
  own: OwnDevices,
  context: DriverContext,
): Promise<void> {
  for (const device of await own.of(image)) {
    if (!(await isStranded(device))) continue;
    await sleep(endMs);
    await using opened = await openDevice(device);
    if (!opened || !(await own.of(image)).includes(device) || !(await isStranded(device))) continue;
    // If it has ended meanwhile, a mount could replay its journal; `norecovery` makes that fail.
    await mountAt(mountpoint, ['-o', 'norecovery', device], context);
    await end(mountpoint);
    await detachAt(mountpoint, context);
  }
}

/** True when the kernel has the device's file system, and no process sees a mount of it. */
async function isStranded(device: string): Promise<boolean> {
  if (!(await hasFileSystem(device))) return false;
  for (const pid of await processIds()) {
    if ((await processFile(pid, 'mountinfo'))?.includes(` ${device} `)) return false;
  }
  return true;
}
