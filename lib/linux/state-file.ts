import { open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { types } from 'node:util';
import { hasCode } from './error-code.ts';

/** Replaces a small file atomically; it is on disk when this resolves. */
export async function replaceFile(path: string, text: string): Promise<void> {
  const temporary = `${path}.new`;
  try {
    await writeSynced(temporary, text);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {
      // The next attempt overwrites it.
    });
    // Node names the path only where a file is opened.
    if (types.isNativeError(error) && !error.message.includes(path)) error.message += ` '${path}'`;
    throw error;
  }
  await using folder = await open(dirname(path), 'r');
  await folder.sync();
}

/** Reads a file and trims its content, unless told not to; undefined if there is no file. */
export async function readIfThere(path: string, { trim = true } = {}): Promise<string | undefined> {
  try {
    const text = await readFile(path, 'utf8');
    return trim ? text.trim() : text;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

async function writeSynced(path: string, text: string): Promise<void> {
  await using file = await open(path, 'w', 0o600);
  await file.writeFile(text);
  await file.datasync();
}
