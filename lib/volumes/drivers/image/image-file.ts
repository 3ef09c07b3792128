import { open, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import createDebug from 'debug';
import { run } from '../../../linux/run.ts';
import { never } from '../../../running/never.ts';
import { UnavailableError } from '../../errors.ts';
import type { DriverContext } from '../driver.ts';
import { mountAt, removeMountpoint, unmountAt } from '../shared/mountpoint.ts';
import { syncPath } from '../shared/storage-files.ts';
import { attach, detach, waitUntilDetached, writableLoopDevices } from './loop-device.ts';
import { reserveSpace, withinSpace } from './reserve.ts';

const debug = createDebug('berth:driver');

/** The file systems that an image can hold. */
export const fileSystems = ['ext4', 'xfs'] as const;
export type FileSystem = (typeof fileSystems)[number];

/** Smaller than this, mkfs refuses (xfs), or leaves hardly any room beside the journal (ext4). */
export const smallestBytes = { ext4: 16 * 2 ** 20, xfs: 300 * 2 ** 20 } satisfies Record<
  FileSystem,
  number
>;

export interface ImageOptions {
  readonly fs: FileSystem;
  /** Bytes. */
  readonly size: number;
  /** All blocks are allocated; absent: a block is allocated when it is written. */
  readonly reserve?: 'yes' | undefined;
}

/**
 * Makes a file with an empty file system in it. It removes ext4's `lost+found`,
 * because databases refuse, and the engine does not fill, a volume that is not empty. `e2fsck`
 * creates that directory again when it needs it.
 */
export async function makeImage(
  path: string,
  { fs, size, reserve }: ImageOptions,
  context: DriverContext,
): Promise<void> {
  {
    await using file = await open(path, 'wx', 0o600);
    await file.truncate(size);
  }
  await withinSpace(() => makeFileSystem[fs](path, reserve === 'yes', context.signal));
  if (reserve === 'yes') await reserveSpace(path, size, context);
  await utimes(path, neverWritten, neverWritten);
  await syncPath(path);
}

/** The time of change of an image to which nothing was written since it was made: 1970. */
const neverWritten = new Date(0);

/** True for an image that was made, and neither mounted nor written to since. */
export async function isUnused(path: string): Promise<boolean> {
  return (await stat(path)).mtimeMs === neverWritten.getTime();
}

const makeFileSystem = {
  async ext4(path: string, isWhole: boolean, signal: AbortSignal) {
    // With its own checksum seed the UUID can be changed without an fsck: see `giveNewUuid`.
    const format = ['-b', '4096', '-m', '0', '-e', 'remount-ro', '-O', 'metadata_csum_seed'];
    // What the kernel zeroes after the first mount it gives back to the pool instead.
    const whole = isWhole ? ['-E', 'lazy_itable_init=0,lazy_journal_init=0'] : [];
    await run('mkfs.ext4', ['-q', '-F', ...format, ...whole, path], { signal });
    const { stderr } = await run('debugfs', ['-w', '-R', 'rmdir lost+found', path], { signal });
    // debugfs always exits with 0; its complaints follow the line with its name and version.
    const complaints = stderr.trim().split('\n').slice(1);
    if (complaints.length > 0) throw new Error(`debugfs failed: ${complaints.join(' ')}`);
  },

  async xfs(path: string, _isWhole: boolean, signal: AbortSignal) {
    await run('mkfs.xfs', ['-q', '-f', path], { signal });
  },
} satisfies Record<
  FileSystem,
  (path: string, isWhole: boolean, signal: AbortSignal) => Promise<void>
>;

/**
 * Mounts the file system in an image. `nouuid` because snapshots of one xfs carry its UUID;
 * `discard` gives the blocks of deleted files back, so that the image stays thin; an image with
 * reserved space gets back what else the kernel may have given away.
 */
export async function mountImage(
  path: string,
  { fs, size, reserve }: ImageOptions,
  mountpoint: string,
  context: DriverContext,
): Promise<void> {
  const words = [reserve === 'yes' ? 'nodiscard' : 'discard', ...(fs === 'xfs' ? ['nouuid'] : [])];
  const options = words.join(',');
  // In a read-only pool `mount` would make a read-only mount, with success.
  await using _writable = await open(path, 'r+');
  if (reserve === 'yes') await reserveAgain(path, size, context);
  // Data may stay in memory long after the mount: the image must not look unused until then.
  if (await isUnused(path)) await utimes(path, new Date(), new Date());
  if ((await writableLoopDevices(path)).length === 0) {
    await mountAt(mountpoint, ['-t', fs, '-o', `loop,${options}`, path], context);
    return;
  }
  // `mount -o loop` would use the device that is there: that of a file system that is shut down.
  const device = await attach(path);
  try {
    await mountAt(mountpoint, ['-t', fs, '-o', options, device], context);
  } finally {
    await detach(device); // The kernel frees it when its last mount has gone.
  }
}

/** A pool that is full now does not keep a volume from being mounted with the space that it has. */
async function reserveAgain(path: string, size: number, context: DriverContext): Promise<void> {
  try {
    await reserveSpace(path, size, context);
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    debug('image=%s has lost some of its reserved space: %s', path, error);
  }
}

/**
 * Gives the file system in a copied image a UUID of its own. It may have been copied frozen, or
 * after a crash: `tune2fs` replays the journal itself; `xfs_admin` refuses, so the log of an xfs is
 * replayed by mounting it once in `temporary`.
 */
export async function giveNewUuid(
  path: string,
  fs: FileSystem,
  temporary: string,
  { signal }: DriverContext,
): Promise<void> {
  if (fs === 'ext4') {
    await run('tune2fs', ['-U', 'random', path], { signal });
    return;
  }
  const mountpoint = join(temporary, 'mountpoint');
  await mountImage(path, { fs, size: (await stat(path)).size }, mountpoint, { signal });
  // The copy is unmounted even if the caller gave up.
  await unmountAt(mountpoint, { signal: never });
  await waitUntilDetached('the copy', path, never);
  await removeMountpoint(mountpoint);
  const { stdout, stderr } = await run('xfs_admin', ['-U', 'generate', path], { signal });
  // xfs_admin exits with 0 even when it has refused.
  if (!stdout.includes('new UUID')) throw new Error(`xfs_admin failed: ${stdout} ${stderr}`.trim());
}
