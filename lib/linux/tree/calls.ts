// Calls on single names below a descriptor. They block, so only a process of its own makes them (copy-program.ts).

import { constants } from 'node:fs';
import { getSystemErrorMessage, getSystemErrorName } from 'node:util';
import type { FileStat } from './file-stat.ts';
import { fileStat, statBytes } from './file-stat.ts';
import * as libc from './libc.ts';
import { errno } from './libc.ts';

/** One name in a directory, in the kernel's form: any bytes, and a zero at the end. */
export type Name = Buffer;

/** The kernel has refused a call; `code` is its reason, such as `ENOSPC`. */
export class TreeCallError extends Error {
  override readonly name = 'TreeCallError';
  readonly code: string;
  constructor(call: string, reason: number) {
    super(`${call}: ${getSystemErrorMessage(-reason)}`);
    this.code = getSystemErrorName(-reason);
  }
}

/** A call that the running kernel must have, but has not. */
export class OldKernelError extends Error {
  override readonly name = 'OldKernelError';
  constructor() {
    super(
      'copies need the system call openat2 (Linux 5.6 or newer): this kernel, or a filter of system calls ' +
        '(seccomp) around berth, does not allow it',
    );
  }
}

/** Flags of <fcntl.h>, the same on amd64 and arm64; Node has the others. */
const path = 0o10000000;
const closeOnExec = 0o2000000;
const emptyPath = 0x1000;
const noFollow = 0x100;
/** STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID. */
const statMask = 0x7ff | 0x800 | 0x1000;
/** FICLONE of <linux/fs.h>. */
const cloneRequest = 0x40049409;
/** SEEK_DATA and SEEK_HOLE of lseek(2). */
const seekData = 3;
const seekHole = 4;

/** struct open_how for openat2(2): flags, mode, resolve. */
const beneath = Buffer.alloc(24);
beneath.writeBigUInt64LE(BigInt(path | constants.O_NOFOLLOW | closeOnExec), 0);
/** RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH. */
beneath.writeBigUInt64LE(15n, 16);

function checked(call: string, result: number): number {
  if (result < 0) throw new TreeCallError(call, errno());
  return result;
}

export function nameOf(text: string): Name {
  return Buffer.from(`${text}\0`);
}

const itself: Name = nameOf('.');
const nothing: Name = nameOf('');
export const parentName: Name = nameOf('..');

/** Returns the path at which the kernel shows the very file of a descriptor; for a link, the link itself. */
const shown = (fd: number) => `/proc/self/fd/${fd}`;

/**
 * Opens one name below a directory without opening what it is: follows no link, enters no mount, and wakes
 * no device. Throws `ENOENT` if it has vanished, and `EXDEV` for a mountpoint.
 */
export function look(directory: number, name: Name): number {
  const fd = libc.openat2(directory, name, beneath, beneath.length);
  if (fd < 0 && errno() === 38) throw new OldKernelError();
  return checked('open', fd);
}

/** Rejects a kernel without openat2(2); a filter of an old container engine answers EPERM. */
export function requireOpenat2(directory: number): void {
  try {
    close(look(directory, itself));
  } catch (error) {
    if (error instanceof TreeCallError && error.code === 'EPERM') throw new OldKernelError();
    throw error;
  }
}

/** Opens the directory that a descriptor of `look` or of a directory means, for reading its names. */
export function openDirectory(fd: number, name: Name = itself): number {
  const flags = constants.O_DIRECTORY | constants.O_NOFOLLOW | closeOnExec;
  return checked('open', libc.openat(fd, name, flags, 0));
}

/** Opens a directory by its path, whose last name must not be a link. */
export function openRoot(at: string): number {
  return checked(
    'open',
    libc.openPath(at, constants.O_DIRECTORY | constants.O_NOFOLLOW | closeOnExec),
  );
}

/** Opens the regular file that a descriptor of `look` means, for reading. */
export function openFound(fd: number): number {
  return checked('open', libc.openPath(shown(fd), constants.O_RDONLY | closeOnExec));
}

/** Makes an empty file. Throws `EEXIST` if the name is taken. */
export function createFile(directory: number, name: Name): number {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  return checked('create', libc.openat(directory, name, flags | closeOnExec, 0o600));
}

export function makeDirectory(directory: number, name: Name, mode = 0o700): void {
  checked('mkdir', libc.mkdirat(directory, name, mode));
}

/** Makes a fifo, a socket or a device. */
export function makeNode(directory: number, name: Name, mode: number, device: number): void {
  checked('mknod', libc.mknodat(directory, name, mode, device));
}

export function makeLink(target: Name, directory: number, name: Name): void {
  checked('symlink', libc.symlinkat(target, directory, name));
}

export function hardLink(from: number, name: Name, to: number, newName: Name): void {
  checked('link', libc.linkat(from, name, to, newName, 0));
}

const linkText = Buffer.alloc(4097);
/** Returns the text of the link that a descriptor of `look` means, with a zero at its end. */
export function readLink(fd: number): Name {
  const length = checked('readlink', libc.readlinkat(fd, nothing, linkText, linkText.length - 1));
  return Buffer.concat([linkText.subarray(0, length), nothing]);
}

export function close(fd: number): void {
  checked('close', libc.closeFd(fd));
}

/** Reads the next names of a directory into `entries` (struct linux_dirent64); returns their bytes, 0 at the end. */
export function readEntries(fd: number, entries: Buffer): number {
  return checked('readdir', libc.getdents64(fd, entries, entries.length));
}

const statResult = Buffer.alloc(statBytes);
/** Returns what the kernel says of the file that a descriptor means. */
export function statOf(fd: number): FileStat {
  checked('stat', libc.statx(fd, nothing, emptyPath, statMask, statResult));
  return fileStat(statResult);
}

export function changeOwner(directory: number, name: Name, uid: number, gid: number): void {
  checked('chown', libc.fchownat(directory, name, uid, gid, noFollow));
}

/** Changes the owner of an open file or directory. */
export function changeOwnerOf(fd: number, uid: number, gid: number): void {
  checked('chown', libc.fchownat(fd, nothing, uid, gid, emptyPath));
}

export function changeMode(fd: number, mode: number): void {
  checked('chmod', libc.fchmod(fd, mode));
}

/** Changes the mode of what a descriptor of `look` means. */
export function changeModeOfFound(fd: number, mode: number): void {
  checked('chmod', libc.chmod(shown(fd), mode));
}

/** Sets the times of a name; of an open file if `name` is left out. */
export function changeTimes(fd: number, times: Buffer, name?: Name): void {
  const result =
    name === undefined ? libc.futimens(fd, times) : libc.utimensat(fd, name, times, noFollow);
  checked('utimens', result);
}

const names = Buffer.alloc(2 ** 16);
const value = Buffer.alloc(2 ** 16);

/** An extended attribute; access control lists and file capabilities are such. */
export interface Xattr {
  readonly name: Name;
  readonly value: Buffer;
}

/** Returns the extended attributes of the file of any descriptor, none if its file system has none. */
export function readXattrs(fd: number, { isOpen }: { readonly isOpen: boolean }): Xattr[] {
  const size = isOpen
    ? libc.flistxattr(fd, names, names.length)
    : libc.listxattr(shown(fd), names, names.length);
  if (size === 0) return [];
  if (size < 0) {
    const error = new TreeCallError('listxattr', errno());
    if (error.code === 'ENOTSUP' || error.code === 'EOPNOTSUPP') return [];
    throw error;
  }
  const found: Xattr[] = [];
  for (let at = 0; at < size; ) {
    const end = names.indexOf(0, at) + 1;
    const name = Buffer.from(names.subarray(at, end));
    at = end;
    const length = libc.getxattr(shown(fd), name, value, value.length);
    // It may have been removed meanwhile.
    if (length >= 0) found.push({ name, value: Buffer.from(value.subarray(0, length)) });
    else if (getSystemErrorName(-errno()) !== 'ENODATA') checked('getxattr', length);
  }
  return found;
}

export function writeXattr(fd: number, { name, value: content }: Xattr): void {
  checked('setxattr', libc.setxattr(shown(fd), name, content, content.length, 0));
}

/** Makes a file share all blocks with another one. */
export function shareBlocks(from: number, to: number): void {
  checked('clone', libc.ioctl(to, cloneRequest, from));
}

/** Returns where the next data after `at` begin and end; undefined if there are none. */
export function nextData(fd: number, at: number): { start: number; end: number } | undefined {
  const start = Number(libc.lseek(fd, at, seekData));
  if (start < 0 && getSystemErrorName(-errno()) === 'ENXIO') return undefined;
  checked('seek', start);
  const end = Number(libc.lseek(fd, start, seekHole));
  if (end < 0 && getSystemErrorName(-errno()) === 'ENXIO') return undefined;
  return { start, end: checked('seek', end) };
}

export function seek(fd: number, at: number): void {
  checked('seek', Number(libc.lseek(fd, at, 0)));
}

export function setSize(fd: number, size: number | bigint): void {
  checked('truncate', libc.ftruncate(fd, size));
}

/** Copies bytes from one place of a file to that of another, in the kernel; returns how many. */
export function copyRange(from: number, to: number, size: number): number {
  return checked('copy', libc.copyFileRange(from, null, to, null, size, 0));
}

export function read(fd: number, to: Buffer, size: number): number {
  return checked('read', libc.readFd(fd, to, size));
}

/** Writes all bytes. */
export function write(fd: number, from: Buffer): void {
  for (let at = 0; at < from.length; ) {
    at += checked('write', libc.writeFd(fd, from.subarray(at), from.length - at));
  }
}
