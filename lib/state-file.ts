import { open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { hasCode } from './error-code.ts';

/** Replaces a small file as a whole; it is on disk when this resolves. */
export async function replaceFile(path: string, text: string): Promise<void> {
  const temporary = `${path}.new`;
  {
    await using file = await open(temporary, 'w', 0o600);
    await file.writeFile(text);
    await file.datasync();
  }
  await rename(temporary, path);
  await using folder = await open(dirname(path), 'r');
  await folder.sync();
}

/** A file's content without blanks around it; undefined when there is none. */
export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}
