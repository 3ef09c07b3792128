import type { FileHandle } from 'node:fs/promises';
import { open, readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { hasCode } from '../../../linux/error-code.ts';
import type { LoopFile } from '../../../linux/mount-calls.ts';
import { viewersOf } from '../../../linux/mount-viewers.ts';
import type { Mount } from '../../../linux/mountinfo.ts';
import { currentMountsAt, readMounts } from '../../../linux/mountinfo.ts';
import type { SystemCalls } from '../../../linux/mounting.ts';
import { systemCalls } from '../../../linux/mounting.ts';
import { allOf } from '../../../running/all-of.ts';
import { InUseError } from '../../errors.ts';
import { exists } from '../shared/storage-files.ts';
import { DeadDevices } from './dead-devices.ts';
import { runOwn } from './programs.ts';
import { ShownElsewhereError } from './shown-elsewhere.ts';

/**
 * The loop devices through which this host's kernel uses an image file. `mount -o loop` creates them,
 * and the kernel frees each when its last mount has gone: none can leak, not even when the daemon is
 * killed in the middle. A device that somebody attached by hand stays.
 */

const listSchema = z.object({
  loopdevices: z.array(z.object({ name: z.string(), ro: z.boolean() })),
});

/** Lists the devices that may write to this file, such as `/dev/loop3`. */
export async function writableLoopDevices(image: string): Promise<string[]> {
  if (!(await exists(image))) return [];
  const calls = await systemCalls();
  const attached = calls && (await attachedDevices());
  if (!attached) return listedDevices(image);
  const { dev, ino } = await stat(image, { bigint: true });
  const found = await allOf(
    attached.map(async (device) => {
      const file = await fileOf(device, calls);
      const isOurs = file?.device === dev && file.inode === ino && !file.isReadOnly;
      return isOurs ? [device] : [];
    }),
  );
  return found.flat();
}

/** Whether a mount is that of the file system in this very image. */
export async function isMountOf({ source }: Mount, image: string): Promise<boolean> {
  return (await writableLoopDevices(image)).includes(source);
}

/** Whether the file system in this very image is the one that is seen at the mountpoint. */
export async function isMountedAt(image: string, mountpoint: string): Promise<boolean> {
  const top = (await currentMountsAt(mountpoint)).at(-1);
  return top !== undefined && (await isMountOf(top, image));
}

/** Lists the loop devices that have a file; undefined: the kernel does not show them here. */
async function attachedDevices(): Promise<string[] | undefined> {
  try {
    const names = (await readdir(blockDevices)).filter((name) => name.startsWith('loop'));
    const hasFile = (name: string) => exists(join(blockDevices, name, 'loop/backing_file'));
    const known = await allOf(names.map(async (name) => ((await hasFile(name)) ? [name] : [])));
    return known.flat().map((name) => `/dev/${name}`);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'EACCES')) return undefined;
    throw error;
  }
}

const blockDevices = '/sys/block';

/**
 * Opens a device: while it is open, the kernel does not free it, and gives it to no other file. Undefined: the
 * kernel is freeing it.
 */
export async function openDevice(device: string): Promise<FileHandle | undefined> {
  try {
    return await open(device, 'r');
  } catch (error) {
    if (hasCode(error, 'ENXIO')) return undefined;
    throw error;
  }
}

/** Returns the file of a device; undefined: it has none any more. */
async function fileOf(device: string, { loopFile }: SystemCalls): Promise<LoopFile | undefined> {
  try {
    await using opened = await open(device, 'r');
    return await loopFile(opened.fd);
  } catch (error) {
    if (hasCode(error, 'ENXIO')) return undefined;
    throw error;
  }
}

async function listedDevices(image: string): Promise<string[]> {
  const args = ['--list', '--json', '--output', 'NAME,RO', '--associated', image];
  const { stdout } = await runOwn('losetup', args);
  if (stdout.trim() === '') return [];
  return listSchema
    .parse(JSON.parse(stdout))
    .loopdevices.filter(({ ro }) => !ro)
    .map(({ name }) => name);
}

const everyDeviceSchema = z.object({
  loopdevices: z.array(
    z.object({ name: z.string(), autoclear: z.boolean(), 'back-file': z.string().nullable() }),
  ),
});

/**
 * Lists devices on files below a directory that are mounted nowhere and that the kernel does not
 * free: somebody attached them by hand.
 */
export async function idleLoopDevices(directory: string): Promise<string[]> {
  const { stdout } = await runOwn('losetup', [
    '--list',
    '--json',
    '--output',
    'NAME,AUTOCLEAR,BACK-FILE',
  ]);
  if (stdout.trim() === '') return [];
  const sources = new Set((await readMounts()).map(({ source }) => source));
  return everyDeviceSchema
    .parse(JSON.parse(stdout))
    .loopdevices.filter(
      (device) =>
        device['back-file']?.startsWith(`${directory}/`) &&
        !device.autoclear &&
        !sources.has(device.name),
    )
    .map(({ name }) => name);
}

/** Attaches a file to a device of its own, also if another device has the file. */
export async function attach(image: string): Promise<string> {
  return (await runOwn('losetup', ['--find', '--show', image])).stdout.trim();
}

/** Frees a device; the kernel frees a device in use when its last use ends. */
export async function detach(device: string): Promise<void> {
  await runOwn('losetup', ['--detach', device]);
}

/** Returns true if the kernel has a file system of the device, mounted or not. */
export async function hasFileSystem(device: string): Promise<boolean> {
  const known = ['ext4', 'xfs'].map((fs) => exists(join('/sys/fs', fs, basename(device))));
  return (await Promise.all(known)).includes(true);
}

/** A container that is being started has a copy of all mounts for a moment. */
export const otherNamespacesMs = 3_000;
/** A busy kernel frees a device late: it writes back first. */
const detachMs = 10_000;
const pauseMs = 20;

/**
 * Resolves when no device can write to the file any more, which is a moment after the unmount, or when all
 * that are left are harmless: dead, or, for an attempt that is undone, another daemon's. Rejects InUseError when a device stays: the image is then mounted
 * somewhere else on this host (ShownElsewhereError, if another mount namespace has it), or a process
 * has the device open, and a second mount or a copy would destroy or tear it.
 */
export async function waitUntilDetached(
  what: string,
  image: string,
  signal: AbortSignal,
  harmless: Pick<DeadDevices, 'without'> = new DeadDevices(),
): Promise<void> {
  const startedAt = performance.now();
  for (;;) {
    signal.throwIfAborted();
    const devices = await harmless.without(await writableLoopDevices(image));
    if (devices.length === 0) return;
    const mounts = (await readMounts()).filter(({ source }) => devices.includes(source));
    if (mounts.length > 0) {
      const places = mounts.map(({ mountpoint }) => mountpoint).join(', ');
      throw new InUseError(`${what} is mounted at ${places}`);
    }
    const waitedMs = performance.now() - startedAt;
    const still = `${what} is still attached as ${devices.join(', ')}`;
    if (waitedMs > otherNamespacesMs) {
      const viewers = await viewersOf(devices);
      if (viewers.length > 0) throw new ShownElsewhereError(still, viewers);
      if (waitedMs > detachMs) {
        throw new InUseError(`${still}, and no mount of it is found: see who opened the device`);
      }
    }
    await sleep(pauseMs);
  }
}
