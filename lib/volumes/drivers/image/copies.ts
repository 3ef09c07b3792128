import { setTimeout as sleep } from 'node:timers/promises';
import { keepFrozen } from '../../../linux/freeze.ts';
import { placeOfPath } from '../../../linux/mount-namespaces.ts';
import type { MountViewer } from '../../../linux/mount-viewers.ts';
import { namesOf, viewersOf } from '../../../linux/mount-viewers.ts';
import { shutDown } from '../../../linux/shut-down.ts';
import type { DriverContext } from '../driver.ts';
import { detachAt, mountAt, removeMountpoint } from '../shared/mountpoint.ts';
import { hasFileSystem, openDevice, otherNamespacesMs, waitUntilDetached } from './loop-device.ts';
import type { OwnDevices } from './own-devices.ts';
import { ShownElsewhereError, shutDownShown, untilDiscarded } from './shown-elsewhere.ts';

/*
 * A container with `-v /:/host` (a monitor, a backup agent) has copies of all mounts of its host. Its
 * copy keeps the file system of an image in the kernel when berth has unmounted the image: the
 * container might still write to it, and the kernel might still write back, so the lock must not be
 * released.
 *
 *     unmounted ─► mounted at another place? ─► a container uses it: the unmount is refused
 *         │ no: only copies
 *         ▼
 *     mountpoint removed ─► the kernel removes the copies of the mount with it ─► device free
 *         │ a process has a file open in a copy
 *         ▼
 *     file system frozen, then shut down: it writes nothing any more ─► device stays, dead
 */

/** Most devices are free by then, and no other mount namespace has to be looked at. */
const usualMs = 200;
const lookPauseMs = 500;
/** How long the device of a removed mount may take to be free before somebody seems to keep it. */
const keptMs = 2_000;

export interface UnmountedImage {
  readonly volume: string;
  readonly image: string;
  /** The path at which it was mounted. */
  readonly mountpoint: string;
  /** The words of mount(8) with which it is mounted again. */
  readonly words: readonly string[];
  readonly own: OwnDevices;
}

/**
 * Resolves when an image that was unmounted can't be written any more, and its mountpoint is removed.
 * Returns a sentence for people if a process still has the file system, which is shut down then.
 * Rejects if a user is left, and mounts the image again, so that the fence reaches its file system.
 */
export async function endCopies(
  unmounted: UnmountedImage,
  context: DriverContext,
): Promise<string | undefined> {
  const { volume, image, mountpoint, own } = unmounted;
  const isFree = await isFreeWithin(unmounted, usualMs);
  const copies = isFree ? [] : await onlyCopies(unmounted, context);
  await removeMountpoint(mountpoint);
  if (isFree || (await isFreeWithin(unmounted, keptMs))) return undefined;
  for (const device of await own.of(image)) {
    await shutDownKept(device, unmounted, context);
  }
  // Copies may be left only if the mountpoint could not be removed.
  const left = await viewersOf(await own.of(image));
  await own.dead.add(await shutDownShown(left, { flush: true }));
  await waitUntilDetached(`volume ${volume}`, image, context.signal, own);
  const who = copies.length === 0 ? 'a process' : namesOf(copies);
  return (
    `it is unmounted, but ${who} has a copy of its mount and a file open there: berth has shut that ` +
    'file system down, so reads there fail; start a monitor with -v /:/host:ro,rslave to keep it ' +
    'from copying mounts'
  );
}

/** Returns the copies of the mount that are left, when nothing else is. */
async function onlyCopies(
  { volume, image, mountpoint, words, own }: UnmountedImage,
  context: DriverContext,
): Promise<readonly MountViewer[]> {
  const place = await placeOfPath(mountpoint);
  const startedAt = performance.now();
  for (;;) {
    context.signal.throwIfAborted();
    const devices = await own.of(image);
    const viewers = await viewersOf(devices);
    const users = viewers.filter((viewer) => viewer.place !== place);
    if (users.length === 0) return viewers;
    // A container that is being started has mounts of its host at other places for a moment.
    if (performance.now() - startedAt > otherNamespacesMs) {
      await mountedAgain(image, mountpoint, { words, own }, context);
      throw new ShownElsewhereError(
        `volume ${volume} is still attached as ${devices.join(', ')}`,
        users,
      );
    }
    await sleep(lookPauseMs);
  }
}

/** Shuts down a file system that only open files keep: it must be mounted once more for that. */
async function shutDownKept(
  device: string,
  { image, mountpoint, own }: UnmountedImage,
  context: DriverContext,
): Promise<void> {
  await using opened = await openDevice(device);
  if (!opened || !(await own.of(image)).includes(device)) return;
  if (!(await hasFileSystem(device))) return;
  await mountAt(mountpoint, ['-o', 'norecovery', device], context);
  try {
    await keepFrozen(mountpoint);
    await untilDiscarded(device);
    await shutDown(mountpoint); // Thaws it, too.
    await own.dead.add([device]);
  } finally {
    await detachAt(mountpoint, context);
    await removeMountpoint(mountpoint);
  }
}

/**
 * Ends all writes of this daemon's users to a lost image, through what any mount namespace still shows of
 * its devices, without writing back. Another daemon of this machine may have the image mounted by now. Metadata that the kernel has cached may still reach the image when its last user has gone,
 * unless the file system was frozen before: such a device is not dead.
 */
export async function abandonCopies(
  image: string,
  mountpoint: string,
  own: OwnDevices,
): Promise<void> {
  await shutDownShown(await own.viewers(image, mountpoint), { flush: false });
}

/**
 * Mounts the image with the very file system that another mount namespace still shows: it may have
 * data that are not on the image yet. False if there is none. Only while the lock was held without a
 * gap: another host may else have written to the image, and this file system would not know.
 */
export async function mountedAgain(
  image: string,
  mountpoint: string,
  { words, own }: Pick<UnmountedImage, 'words' | 'own'>,
  context: DriverContext,
): Promise<boolean> {
  const devices = await own.of(image);
  for (const { source } of devices.length === 0 ? [] : await viewersOf(devices)) {
    await using opened = await openDevice(source);
    if (!opened || !(await own.of(image)).includes(source)) continue;
    const options = words.length === 0 ? [] : ['-o', words.join(',')];
    await mountAt(mountpoint, [...options, source], context);
    return true;
  }
  return false;
}

async function isFreeWithin({ image, own }: UnmountedImage, limitMs: number): Promise<boolean> {
  const end = performance.now() + limitMs;
  for (;;) {
    if ((await own.of(image)).length === 0) return true;
    if (performance.now() > end) return false;
    await sleep(20);
  }
}
