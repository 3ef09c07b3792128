import type { RememberedFile } from './file-memory.ts';

/** One look at the lock file from outside; undefined: there is none. */
export interface FileSeen {
  readonly inode: number;
  readonly bytes: number;
}

/** Returns why a file is not the one that was used before, from what can be seen without opening it. */
export function whyOtherFile(
  known: RememberedFile | undefined,
  seen: FileSeen | undefined,
  boot: string,
): string | undefined {
  if (!known) return undefined;
  if (!seen) return 'it is missing';
  if (seen.bytes === 0) return 'it is empty';
  const isSameBoot = known.boot === boot;
  // The file never shrinks. After a power cut, its last pages may be in its log only.
  if (seen.bytes < known.bytes && (isSameBoot || !known.isOpen)) {
    return whyShorter(known.bytes, seen.bytes);
  }
  // Its log would be played into a file that it does not belong to.
  if (isSameBoot && known.isOpen && seen.inode !== known.inode) {
    return 'another file was put in its place while its log (-wal) was in use';
  }
  return undefined;
}

export function whyShorter(before: number, now: number): string {
  return `it was cut off, or put back from an older copy (it had ${before} bytes and has ${now})`;
}

/** Returns why the content of a file is not what was in it before. */
export function whyOtherContent(
  known: RememberedFile | undefined,
  found: { readonly id: string; readonly revision: number; readonly hadLog: boolean },
  boot: string,
): string | undefined {
  if (!known) return undefined;
  if (found.id !== known.id) return 'it is not the file that this host used before';
  // A power cut takes what was not synced: tickets, whose processes it has ended, too.
  const floor = known.boot === boot ? known.revision : known.onDisk;
  if (found.revision >= floor) return undefined;
  const fell = `its revision was ${floor} and is ${found.revision}`;
  return known.isOpen && !found.hadLog
    ? whyWithoutLog(fell)
    : `it was put back to an older state (${fell})`;
}

export function whyWithoutLog(found: string): string {
  return `its log (-wal) is missing (${found})`;
}

/** Says to those who ask for a lock, and as a condition, why there is none, and what to do. */
export function refusalText(path: string, why: string): string {
  return (
    `the lock file ${path} is not in the state in which this host left it: ${why}; no lock is granted and ` +
    'no record is read until a person has looked: put the latest file back (with its -wal) and restart ' +
    'berth, or go on with the file as it is: berth doctor --accept-store (docs/store-history.md)'
  );
}
