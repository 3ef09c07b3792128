import { open } from 'node:fs/promises';
import { currentMountsAt } from '../../../linux/mountinfo.ts';
import { ProgramError } from '../../../linux/run.ts';
import { UnavailableError } from '../../errors.ts';
import type { DriverContext } from '../driver.ts';
import type { FileSystem, ImageOptions } from './image-file.ts';
import { setFileSize } from './image-file.ts';
import { runOwn } from './programs.ts';
import { reserveSpace } from './reserve.ts';

/*
 * An image grows while it is mounted, by the kernel, or within the Mount of a volume that is larger by its
 * record than its file system. Nothing else changes an image: a program that did could go on after its
 * host was frozen and another had mounted the image. A Mount has left a claim, so that the other host takes the
 * image over first (stage.ts).
 */

export type Grown = Pick<ImageOptions, 'fs' | 'size' | 'reserve'>;

/**
 * Makes a mounted image and its file system as large as the options say, if they are smaller. Processes that
 * use it go on. May be repeated, also after a crash in the middle. Rejects UnavailableError where the kernel
 * does not let this process do it.
 */
export async function growMounted(
  image: string,
  { fs, size, reserve }: Grown,
  mountpoint: string,
  context: DriverContext,
): Promise<void> {
  const { signal } = context;
  const device = (await currentMountsAt(mountpoint)).at(-1)?.source;
  if (device === undefined) throw new Error(`nothing is mounted at ${mountpoint}`);
  await extend(image, size);
  if (reserve === 'yes') await reserveSpace(image, size, context);
  await runOwn('losetup', ['--set-capacity', device], { signal });
  try {
    if (fs === 'ext4') await runOwn('resize2fs', [device], { signal });
    else await runOwn('xfs_growfs', ['-d', mountpoint], { signal });
  } catch (error) {
    if (!(error instanceof ProgramError) || !/permission denied/i.test(error.output.stderr))
      throw error;
    throw new UnavailableError(
      'the kernel does not let berth grow a mounted ext4, for which it needs CAP_SYS_RESOURCE: stop the ' +
        "volume's containers, resize it, and start them again",
      { cause: error },
    );
  }
}

/**
 * Prepares an image for a mount: extends it, and the ext4 in it, to the size that the options say. Returns true
 * if its file system can grow only once it is mounted.
 */
export async function growBeforeMount(
  image: string,
  wanted: Grown,
  { signal }: DriverContext,
): Promise<boolean> {
  if (!(await isSmaller(image, wanted))) return false;
  await extend(image, wanted.size);
  if (wanted.fs === 'xfs') return true;
  // It may not have been unmounted; resize2fs asks for a check. Exit code 1: it has repaired something.
  await runOwn('e2fsck', ['-f', '-p', image], { signal }).catch((error) => {
    if (!(error instanceof ProgramError) || error.exitCode !== 1) throw error;
  });
  await runOwn('resize2fs', [image], { signal });
  return false;
}

/** Returns true if the file system in an image that nobody has mounted is smaller than its options say. */
async function isSmaller(image: string, { fs, size }: Grown): Promise<boolean> {
  await using file = await open(image);
  const { buffer } = await file.read(Buffer.alloc(superblockBytes), 0, superblockBytes, 0);
  return sizes[fs](buffer) < size;
}

async function extend(image: string, size: number): Promise<void> {
  await using file = await open(image, 'r+');
  if ((await file.stat()).size >= size) return;
  await setFileSize(file, size);
  await file.sync();
}

const superblockBytes = 2_048;

/** Read the size of a file system from its superblock: kernel, fs/ext4/ext4.h and fs/xfs/libxfs/xfs_format.h. */
const sizes: Record<FileSystem, (start: Buffer) => number> = {
  ext4: (start) => {
    const blocks = start.readUInt32LE(1_024 + 0x4) + start.readUInt32LE(1_024 + 0x150) * 2 ** 32;
    return blocks * 2 ** (10 + start.readUInt32LE(1_024 + 0x18));
  },
  xfs: (start) => Number(start.readBigUInt64BE(8)) * start.readUInt32BE(4),
};
