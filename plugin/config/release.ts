import { readFileSync } from 'node:fs';

/**
 * The release of the program that runs. It is read when the program starts, because its files may be
 * replaced by those of another release while it runs.
 */
export const release = readRelease(['../../package.json', '../../../package.json']);

/** `places`: above the source, and above its build. */
function readRelease(places: readonly string[]): string {
  for (const place of places) {
    try {
      const text = readFileSync(new URL(place, import.meta.url), 'utf8');
      return (JSON.parse(text) as { version: string }).version;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  throw new Error('package.json of berth is missing: install berth again');
}
