import type { Name } from './calls.ts';
import { readEntries } from './calls.ts';

export interface Entry {
  readonly name: Name;
  /** True if it was a directory when the kernel listed it; it may be something else by now. */
  readonly wasDirectory: boolean;
}

/** Used by one listing at a time: `eachEntry` reads it to its end before it reads more. */
const buffer = Buffer.alloc(2 ** 16);
const typeOfDirectory = 4;

/** Calls `use` for each name in an open directory. `use` must not list another directory. */
export function eachEntry(directory: number, use: (entry: Entry) => void): void {
  for (let size = readEntries(directory, buffer); size > 0; size = readEntries(directory, buffer)) {
    // struct linux_dirent64: inode 8, offset 8, length 2, type 1, name.
    for (let at = 0; at < size; at += buffer.readUInt16LE(at + 16)) {
      const end = buffer.indexOf(0, at + 19) + 1;
      if (isDots(at + 19, end)) continue;
      const name = Buffer.from(buffer.subarray(at + 19, end));
      use({ name, wasDirectory: buffer[at + 18] === typeOfDirectory });
    }
  }
}

/** True for `.` and `..`. */
function isDots(start: number, end: number): boolean {
  const length = end - start - 1;
  if (length > 2 || buffer[start] !== 0x2e) return false;
  return length === 1 || buffer[start + 1] === 0x2e;
}
