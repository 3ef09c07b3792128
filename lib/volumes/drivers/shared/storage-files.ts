import { lstat, open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { hasCode } from '../../../linux/error-code.ts';
import { currentMountsBelow } from '../../../linux/mountinfo.ts';
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
  for (const mount of await currentMountsBelow(path)) await run('umount', [mount.mountpoint]);
  await run('rm', ['-rf', '--one-file-system', '--', path]);
}
