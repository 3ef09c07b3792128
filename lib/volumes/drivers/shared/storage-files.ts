import { link, lstat, open, opendir, rename, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { hasCode } from '../../../linux/error-code.ts';
import { currentMountsBelow } from '../../../linux/mountinfo.ts';
import { unmount } from '../../../linux/mounting.ts';
import { run } from '../../../linux/run.ts';
import { allOf } from '../../../running/all-of.ts';
import type { DriverContext } from '../driver.ts';
import { keptIfConfirmed } from './confirmed.ts';

/** True when a path exists. Rejects when that can't be known. */
export async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw error;
  }
}

/** Forces a file, or the entries of a directory, to the disk, so that a power cut loses nothing. */
export async function syncPath(path: string): Promise<void> {
  await using file = await open(path, 'r');
  await file.sync();
}

/** Forces everything of the file system that holds `path` to the disk. */
export async function syncFileSystem(path: string): Promise<void> {
  await run('sync', ['--file-system', path]);
}

/** Returns true if a directory has no entries. */
export async function isEmpty(path: string): Promise<boolean> {
  await using directory = await opendir(path);
  return (await directory.read()) === null;
}

/** Renames a path; when this resolves, a power cut can no longer undo it. */
export async function renameDurably(from: string, to: string): Promise<void> {
  await rename(from, to);
  await syncNames(from, to);
}

/** Forces to the disk that a path was renamed. */
export async function syncNames(from: string, to: string): Promise<void> {
  const parents = new Set([dirname(to), dirname(from)]);
  await allOf([...parents].map(syncPath));
}

/**
 * Gives what was made under a temporary name its final one; when this resolves, a power cut can no longer
 * undo it. The temporary directory is not synced: a name that comes back in it is deleted with it.
 */
export async function putInPlace(from: string, to: string): Promise<void> {
  await rename(from, to);
  await syncPath(dirname(to));
}

/**
 * Gives a file its final name as `putInPlace` does, but never replaces what has that name: rejects EEXIST
 * then, unless the file system knows no second names of a file.
 */
export async function putInFreePlace(from: string, to: string): Promise<void> {
  await link(from, to).catch(async (error) => {
    if (!hasCode(error, ...noSecondName)) throw error;
    await rename(from, to);
  });
  await syncPath(dirname(to));
}

/** The errors of link(2) on a file system that knows no second names of a file, or no more of this one. */
export const noSecondName = ['EPERM', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS', 'EMLINK'] as const;

/**
 * Gives a directory its final name, after moving what has that name to `trash`, which must not exist. Puts
 * it back if the caller has lost its lock. After a crash in the middle the final name is free and the old
 * directory is in the trash.
 */
export async function replaceDirectory(
  from: string,
  to: string,
  trash: string,
  context: DriverContext,
): Promise<void> {
  // A directory never takes the place of one with content: `to` is still free, or this rejects.
  if (!(await exists(to))) return await putInPlace(from, to);
  const { ino } = await lstat(from);
  await rename(to, trash);
  try {
    await rename(from, to);
  } catch (error) {
    await rename(trash, to);
    throw error;
  }
  await keptIfConfirmed(
    context,
    () => syncPath(dirname(to)),
    async () => {
      // A later holder of the lock may have gone on from here.
      if (!(await exists(trash)) || (await inodeOf(to)) !== ino) return;
      await rename(to, from);
      await rename(trash, to);
      await syncPath(dirname(to));
    },
  );
}

async function inodeOf(path: string): Promise<number | undefined> {
  return (await exists(path)) ? (await lstat(path)).ino : undefined;
}

/**
 * Deletes a file or a directory with all its content, if it exists. It first unmounts what is mounted
 * inside, and never descends into another file system.
 */
export async function deleteTree(path: string): Promise<void> {
  if (!(await exists(path))) return;
  for (const mount of await currentMountsBelow(path)) await unmount(mount.mountpoint);
  await run('rm', ['-rf', '--one-file-system', '--', path]);
}

/**
 * Removes a directory without starting a program if it contains nothing but empty directories with these
 * names; else leaves what is left to `deleteTree`, and answers false. Follows no link that the users of a
 * volume could have made.
 */
export async function removeEmpty(path: string, names: readonly string[]): Promise<boolean> {
  await Promise.all(names.map((name) => isRemoved(join(path, name))));
  return isRemoved(path);
}

async function isRemoved(directory: string): Promise<boolean> {
  try {
    await rmdir(directory);
    return true;
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTEMPTY', 'EEXIST', 'ENOTDIR', 'EBUSY')) return false;
    throw error;
  }
}
