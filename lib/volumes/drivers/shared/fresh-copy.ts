import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exists } from './storage-files.ts';

/*
 * A copy of a volume has a file of this name in its directory until it is mounted. If a crash comes between
 * the copy and its record, the next attempt may replace the copy: nobody has written to it.
 */
const name = 'fresh-copy';

/** Says that a volume's directory, which is still being made, holds a copy. */
export async function markFresh(home: string): Promise<void> {
  await writeFile(join(home, name), '', { mode: 0o600 });
}

/** Says that somebody may write to the volume from now on. May be repeated. */
export async function markUsed(home: string): Promise<void> {
  await rm(join(home, name), { force: true });
}

/** Returns true if nobody can have written to the volume since it was copied. */
export function isFresh(home: string): Promise<boolean> {
  return exists(join(home, name));
}
