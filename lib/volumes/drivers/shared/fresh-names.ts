import { open, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { hasCode } from '../../../linux/error-code.ts';

/** The type of statfs(2) of NFS. */
const nfs = 0x6969;

/**
 * Returns what `look` sees of names in `directories`, as other hosts have left them. An NFS client answers from its
 * memory for half a minute or more: without this it finds the storage that a volume of this name had before
 * another host has removed it, now in the trash, or no pool where another host has just made one.
 *
 * One request at a time: each that hangs with its storage keeps a thread of the worker, which other volumes need.
 */
export async function lookFresh<T>(
  directories: readonly string[],
  look: () => Promise<T>,
): Promise<T> {
  await forgetNames(directories);
  return await look();
}

/**
 * Makes an NFS client forget the names in these directories, which are given from the outermost one inwards: it asks
 * its server when a directory is opened. False: no client remembers anything there.
 */
export async function forgetNames(directories: readonly string[]): Promise<boolean> {
  const innermost = directories.at(-1);
  if (innermost === undefined || (await typeOf(innermost)) !== nfs) return false;
  for (const directory of directories) {
    try {
      await using _ = await open(directory, 'r');
    } catch (error) {
      if (!hasCode(error, 'ENOENT', 'ENOTDIR')) throw error;
      break; // So there is nothing in it either.
    }
  }
  return true;
}

/** Returns the type of the file system in which a path is, or would be. */
async function typeOf(path: string): Promise<number> {
  try {
    return (await statfs(path)).type;
  } catch (error) {
    const parent = dirname(path);
    if (!hasCode(error, 'ENOENT', 'ENOTDIR') || parent === path) throw error;
    return typeOf(parent);
  }
}
