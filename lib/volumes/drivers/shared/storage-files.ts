import { lstat, open, opendir, rename, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { hasCode } from '../../../linux/error-code.ts';
import { currentMountsBelow } from '../../../linux/mountinfo.ts';
import { unmount } from '../../../linux/mounting.ts';
import { run } from '../../../linux/run.ts';

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

/** Renames a path; when this resolves, a power cut can no longer undo it. */
export async function renameDurably(from: string, to: string): Promise<void> {
  await rename(from, to);
  await syncPath(dirname(to));
  if (dirname(from) !== dirname(to)) await syncPath(dirname(from));
}

/**
 * Renames a directory to its final name, after moving what has that name to `trash`, which must not
 * exist. After a crash in the middle the final name is free and the old directory is in the trash.
 */
export async function replaceDirectory(from: string, to: string, trash: string): Promise<void> {
  if (!(await exists(to))) return await renameDurably(from, to);
  await rename(to, trash);
  try {
    await renameDurably(from, to);
  } catch (error) {
    await rename(trash, to);
    throw error;
  }
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

/** An empty volume: a temporary directory, the volume's, and those of its content and its snapshots. */
const emptyLevels = 2;

/**
 * Removes a directory without starting a program if it contains nothing but empty directories, as deep as
 * berth's own directories go; else leaves a part of it to `deleteTree`. Never reads a directory that the
 * users of a volume could have exchanged for a link.
 */
export async function removeEmpty(path: string, levels = emptyLevels): Promise<boolean> {
  try {
    if (levels > 0) {
      for await (const { name } of await opendir(path)) {
        if (!(await removeEmpty(join(path, name), levels - 1))) return false;
      }
    }
    await rmdir(path);
    return true;
  } catch (error) {
    if (hasCode(error, 'ENOTEMPTY', 'EEXIST', 'ENOTDIR', 'EBUSY')) return false;
    throw error;
  }
}
