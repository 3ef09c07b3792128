import { statfs } from 'node:fs/promises';
import { ProgramError } from '../../../linux/run.ts';
import { InvalidRequestError, UnavailableError } from '../../errors.ts';
import type { DriverContext } from '../driver.ts';
import { syncPath } from '../shared/storage-files.ts';
import { runOwn } from './programs.ts';

/** The type of statfs(2) of btrfs, which writes each change of a file to another place. */
const btrfsType = 0x9123683e;

/**
 * Allocates all blocks of an image, with the content that it has, so that a write to it never needs
 * space from the pool. The allocation is on disk when this resolves. May be repeated. Rejects
 * UnavailableError if the pool has too little space, and InvalidRequestError on a file system that
 * can't keep the promise.
 */
export async function reserveSpace(
  image: string,
  sizeBytes: number,
  { signal }: DriverContext,
): Promise<void> {
  if ((await statfs(image)).type === btrfsType) {
    throw new InvalidRequestError(
      'reserve=yes is not possible on btrfs, which writes each change to another place: use ext4 or xfs for the pool',
    );
  }
  try {
    await withinSpace(() =>
      runOwn('fallocate', ['--length', String(sizeBytes), image], { signal }),
    );
  } catch (error) {
    if (!(error instanceof ProgramError) || !/not supported/i.test(error.output.stderr))
      throw error;
    throw new InvalidRequestError(
      "reserve=yes is not possible: the pool's file system can't allocate space",
      { cause: error },
    );
  }
  await syncPath(image);
}

/** Runs a program that writes to an image; rejects UnavailableError if the pool has no space for that. */
export async function withinSpace<T>(program: () => Promise<T>): Promise<T> {
  try {
    return await program();
  } catch (error) {
    const isFull =
      error instanceof ProgramError && /no space left|quota exceeded/i.test(error.output.stderr);
    if (!isFull) throw error;
    throw new UnavailableError(`the pool has too little free space: ${error.message}`, {
      cause: error,
    });
  }
}
