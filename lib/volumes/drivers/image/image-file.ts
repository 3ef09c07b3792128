import type { FileHandle } from 'node:fs/promises';
import { open, stat, utimes } from 'node:fs/promises';
import createDebug from 'debug';
import { hasCode } from '../../../linux/error-code.ts';
import { never } from '../../../running/never.ts';
import { InvalidRequestError, UnavailableError } from '../../errors.ts';
import type { DriverContext } from '../driver.ts';
import { mountAt, removeMountpoint, unmountAt } from '../shared/mountpoint.ts';
import type { RootOwner } from '../shared/owner.ts';
import { giveOwner } from '../shared/owner.ts';
import { formatSize } from '../shared/size.ts';
import { syncPath } from '../shared/storage-files.ts';
import { attach, detach, waitUntilDetached, writableLoopDevices } from './loop-device.ts';
import { runOwn } from './programs.ts';
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
  /** The owner of the root directory; undefined: root. */
  readonly owner?: RootOwner | undefined;
  /** Words of mount(8). */
  readonly words?: readonly string[];
}

/**
 * Makes a file with an empty file system in it. It removes ext4's `lost+found`,
 * because databases refuse, and the engine does not fill, a volume that is not empty. `e2fsck`
 * creates that directory again when it needs it.
 */
export async function makeImage(
  path: string,
  { fs, size, reserve, owner }: ImageOptions,
  context: DriverContext,
): Promise<void> {
  {
    await using file = await open(path, 'wx', 0o600);
    await setFileSize(file, size);
  }
  await withinSpace(() => makeFileSystem[fs](path, reserve === 'yes', context.signal));
  if (reserve === 'yes') await reserveSpace(path, size, context);
  await ownRoot(path, fs, owner, context);
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
    // With its own checksum seed the UUID can be changed without an fsck: see `makeOwn`.
    const format = ['-b', '4096', '-m', '0', '-e', 'remount-ro', '-O', 'metadata_csum_seed'];
    // What the kernel zeroes after the first mount it gives back to the pool instead.
    const whole = isWhole ? ['-E', 'lazy_itable_init=0,lazy_journal_init=0'] : [];
    await runOwn('mkfs.ext4', ['-q', '-F', ...format, ...whole, path], { signal });
    await debugfs(path, 'rmdir lost+found', signal);
  },

  async xfs(path: string, _isWhole: boolean, signal: AbortSignal) {
    await runOwn('mkfs.xfs', ['-q', '-f', path], { signal });
  },
} satisfies Record<
  FileSystem,
  (path: string, isWhole: boolean, signal: AbortSignal) => Promise<void>
>;

/** Changes an ext4 that is not mounted and has no journal to be replayed. */
async function debugfs(path: string, request: string, signal: AbortSignal): Promise<void> {
  const { stderr } = await runOwn('debugfs', ['-w', '-R', request, path], { signal });
  // debugfs always exits with 0; its complaints follow the line with its name and version.
  const complaints = stderr.trim().split('\n').slice(1);
  if (complaints.length > 0) throw new Error(`debugfs failed: ${complaints.join(' ')}`);
}

/**
 * Gives the root directory in an image that is still being made its owner and mode. An ext4 is not mounted
 * for that, because it counts its mounts, and one that was never mounted is proved empty.
 */
async function ownRoot(
  path: string,
  fs: FileSystem,
  owner: RootOwner | undefined,
  context: DriverContext,
): Promise<void> {
  if (owner === undefined) return;
  if (fs === 'xfs') return await mountedOnce(path, fs, context, (root) => giveOwner(root, owner));
  const { uid, gid, mode } = owner;
  const { signal } = context;
  if (uid !== undefined) await debugfs(path, `set_inode_field / uid ${uid}`, signal);
  if (gid !== undefined) await debugfs(path, `set_inode_field / gid ${gid}`, signal);
  const type = 0o040000;
  if (mode !== undefined) {
    await debugfs(path, `set_inode_field / mode 0${(type | mode).toString(8)}`, signal);
  }
}

/** Mounts an image that is still being made beside it, and unmounts it also if the caller gives up. */
async function mountedOnce(
  path: string,
  fs: FileSystem,
  { signal }: DriverContext,
  work: (root: string) => Promise<void> = async () => {},
): Promise<void> {
  const mountpoint = `${path}.mountpoint`;
  const words = ['nosuid', 'nodev', 'noexec'];
  await mountImage(path, { fs, size: (await stat(path)).size, words }, mountpoint, { signal });
  try {
    await work(mountpoint);
  } finally {
    await unmountAt(mountpoint, { signal: never });
    await waitUntilDetached('the new volume', path, never);
    await removeMountpoint(mountpoint);
  }
}

/**
 * Mounts the file system in an image. `nouuid` because snapshots of one xfs carry its UUID;
 * `discard` gives the blocks of deleted files back, so that the image stays thin; an image with
 * reserved space gets back what else the kernel may have given away.
 */
export async function mountImage(
  path: string,
  { fs, size, reserve, words = [] }: ImageOptions,
  mountpoint: string,
  context: DriverContext,
): Promise<void> {
  const discard = reserve === 'yes' ? 'nodiscard' : 'discard';
  // Of two words that exclude each other, the later one counts.
  const options = [discard, ...(fs === 'xfs' ? ['nouuid'] : []), ...words].join(',');
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
 * Gives the file system in a copied image a UUID of its own, and its root directory an owner if one is
 * given. The image may have been copied frozen, or after a crash: `tune2fs` replays the journal itself;
 * `xfs_admin` refuses, so the log of an xfs is replayed by mounting it once in `temporary`.
 */
export async function makeOwn(
  path: string,
  { fs, owner }: Pick<ImageOptions, 'fs' | 'owner'>,
  context: DriverContext,
): Promise<void> {
  const { signal } = context;
  if (fs === 'ext4') {
    await runOwn('tune2fs', ['-U', 'random', path], { signal });
    return await ownRoot(path, fs, owner, context);
  }
  await mountedOnce(path, fs, context, (root) => giveOwner(root, owner));
  const { stdout, stderr } = await runOwn('xfs_admin', ['-U', 'generate', path], { signal });
  // xfs_admin exits with 0 even when it has refused.
  if (!stdout.includes('new UUID')) throw new Error(`xfs_admin failed: ${stdout} ${stderr}`.trim());
}

/**
 * Gives an image its size, without allocating it. Rejects InvalidRequestError if the file system of the pool has no
 * files of that size: the largest of ext4 is one block smaller than 16T.
 */
export async function setFileSize(file: FileHandle, size: number): Promise<void> {
  try {
    await file.truncate(size);
  } catch (error) {
    if (!hasCode(error, 'EFBIG')) throw error;
    throw new InvalidRequestError(
      `size=${formatSize(size)} is more than a file can have on the file system of this pool; use a smaller size`,
      { cause: error },
    );
  }
}
