import { closeSync, openSync, readdirSync } from 'node:fs';
import { hasCode } from './error-code.ts';
import type { ProcessId } from './proc.ts';
import { ifSeenSync, readShortFile } from './proc.ts';

/*
 * Which mounts the files of a task (a process, or one thread of it) belong to. The kernel's number
 * of a mount is unique on the machine, in all namespaces, and keeps its meaning while a file in the
 * mount is open, also after a lazy unmount. Paths mean nothing here: users choose them.
 *
 * Nothing here asks a file system, because one that hangs would hang the caller, and can't be
 * interrupted: no stat of another task's files, no read of its mappings (they are locked while it
 * waits for storage). A path is opened with O_PATH, which asks nothing, and the number is read from
 * the descriptor's own entry in /proc.
 */

/** A directory of a task: its root or its working directory. */
export interface Place {
  readonly mountId: number;
  readonly inode: string;
}

/** A descriptor's file. */
export interface OpenFile {
  readonly mountId: number;
  /** The flags of open(2) that still hold. */
  readonly flags: number;
}

/** Lacks a name in node:fs. */
const openPathOnly = 0o10000000;
const openDirectory = 0o200000;
const accessMode = 0o3;

export function isOpenForWriting({ flags }: OpenFile): boolean {
  return !isPathOnly(flags) && (flags & accessMode) !== 0;
}

/** Returns true if files can be created and opened below this descriptor. */
export function isOpenAsDirectory({ flags }: OpenFile): boolean {
  return isPathOnly(flags) || (flags & openDirectory) !== 0;
}

function isPathOnly(flags: number): boolean {
  return (flags & openPathOnly) !== 0;
}

/** Returns where a link of /proc/PID leads; undefined if the task has ended. */
export function placeOfLink(task: ProcessId, link: 'root' | 'cwd' | `fd/${string}`) {
  return ifSeenSync(() => placeAt(`/proc/${task}/${link}`));
}

/** Returns the mount and the inode of a path, which must not hang: see above. */
export function placeAt(path: string): Place | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(path, openPathOnly);
  } catch (error) {
    // A file system that has failed: nobody can write to it by this path.
    if (hasCode(error, 'ESTALE', 'EIO', 'ENOTCONN', 'ESHUTDOWN')) return undefined;
    throw error;
  }
  try {
    const info = readShortFile(`/proc/self/fdinfo/${descriptor}`);
    return { mountId: Number(fieldOf(info, 'mnt_id')), inode: fieldOf(info, 'ino') };
  } finally {
    closeSync(descriptor);
  }
}

/** Returns the numbers of a task's descriptors; undefined if the task has ended. */
export function descriptorsOf(task: ProcessId): string[] | undefined {
  return ifSeenSync(() => readdirSync(`/proc/${task}/fd`));
}

/** Returns the file of a descriptor; undefined if it is closed. */
export function openFileOf(task: ProcessId, descriptor: string): OpenFile | undefined {
  const info = ifSeenSync(() => readShortFile(`/proc/${task}/fdinfo/${descriptor}`));
  return info === undefined ? undefined : parseFdInfo(info);
}

/** Reads the text of /proc/PID/fdinfo/N (proc_pid_fdinfo(5)). */
export function parseFdInfo(text: string): OpenFile {
  const [mountId, flags] = [fieldOf(text, 'mnt_id'), fieldOf(text, 'flags')];
  if (mountId === '' || flags === '') {
    throw new Error(`not the information of a descriptor: ${JSON.stringify(text)}`);
  }
  return { mountId: Number(mountId), flags: Number.parseInt(flags, 8) };
}

/** Returns the value of a line such as `mnt_id:	27`; empty if there is none. */
function fieldOf(text: string, name: string): string {
  const start = text.startsWith(`${name}:\t`) ? 0 : text.indexOf(`\n${name}:\t`) + 1;
  if (start === 0 && !text.startsWith(`${name}:\t`)) return '';
  const end = text.indexOf('\n', start);
  return text.slice(start + name.length + 2, end < 0 ? undefined : end).trim();
}
