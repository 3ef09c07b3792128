// The system calls mount(2), mount_setattr(2), umount2(2) and ioctl(2), which Node does not have: koffi calls the
// functions of the C library. Importing this file fails where koffi has no library for the machine (mounting.ts).

import { getSystemErrorMessage, getSystemErrorName } from 'node:util';
import koffi from 'koffi';

/** Flags of <sys/mount.h>, the same on every architecture. */
const readOnly = 0x1;
const noSetUid = 0x2;
const noDevices = 0x4;
const noPrograms = 0x8;
const remount = 0x20;
const msBind = 0x1000;
const detach = 2;

/** The number of mount_setattr(2), the same on every architecture but Alpha; Linux 5.12. */
const mountSetattr = 442;
const atFdCwd = -100;
/** Flags of <linux/mount.h>, by the words of mount(8). */
const attributes: Readonly<Record<string, bigint>> = {
  nosuid: 0x2n,
  nodev: 0x4n,
  noexec: 0x8n,
  nodiratime: 0x80n,
};
/** Values of one field of the flags. */
const accessTimes: Readonly<Record<string, bigint>> = {
  relatime: 0n,
  noatime: 0x10n,
  strictatime: 0x20n,
};
const accessTimeField = 0x70n;

/** The kernel has refused a mount or an unmount; `code` is its reason, such as `EBUSY`. */
export class MountCallError extends Error {
  override readonly name = 'MountCallError';
  readonly code: string;
  constructor(what: string, errno: number) {
    super(`${what} failed: ${getSystemErrorMessage(-errno)}`);
    this.code = getSystemErrorName(-errno);
  }
}

type Done = (error: unknown, result: number) => void;

const libc = koffi.load(null);
const mount = libc.func(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)',
);
const syscall = libc.func(
  'long syscall(long number, int directory, const char *path, unsigned int flags, void *attributes, size_t size)',
);
const umount2 = libc.func('int umount2(const char *target, int flags)');
const ioctl = libc.func('int ioctl(int fd, unsigned long request, void *argument)');

/** LOOP_GET_STATUS64 of <linux/loop.h>, and the size of its struct loop_info64. */
const getLoopStatus = 0x4c05;
const loopStatusBytes = 232;
const isReadOnlyFlag = 1;

/** The file of a loop device, by its numbers (stat(2)). */
export interface LoopFile {
  readonly device: bigint;
  readonly inode: bigint;
  readonly isReadOnly: boolean;
}

/** Asks an open loop device for its file. Rejects ENXIO if it has none. */
export async function loopFile(fd: number): Promise<LoopFile> {
  const status = Buffer.alloc(loopStatusBytes);
  await called('the look at a loop device', (done) => ioctl.async(fd, getLoopStatus, status, done));
  // All machines for which koffi has a library here are little-endian.
  return {
    device: status.readBigUInt64LE(0),
    inode: status.readBigUInt64LE(8),
    isReadOnly: (status.readUInt32LE(52) & isReadOnlyFlag) !== 0,
  };
}

/** Makes one directory appear at another one, without what is mounted below it. */
export function bindMount(from: string, at: string): Promise<void> {
  const what = `the bind mount of ${from} at ${at}`;
  return called(what, (done) => mount.async(from, at, null, msBind, null, done));
}

/** Mounts a file system in memory of one page, without devices and programs; again: makes it read-only. */
export function mountPage(
  name: string,
  at: string,
  { isReadOnly }: { readonly isReadOnly: boolean },
): Promise<void> {
  const flags = noSetUid | noDevices | noPrograms | (isReadOnly ? readOnly | remount : 0);
  const options = Buffer.from('size=4k,mode=755\0');
  return called(`the mount of ${name} at ${at}`, (done) =>
    mount.async(name, at, 'tmpfs', flags, options, done),
  );
}

/**
 * Removes the topmost mount at a path; the kernel writes a file system back with its last mount. Lazily: no
 * process finds the mount any more, and it ends with its last user.
 */
export function unmount(at: string, { isLazy }: { readonly isLazy: boolean }): Promise<void> {
  return called(`the unmount of ${at}`, (done) => umount2.async(at, isLazy ? detach : 0, done));
}

/**
 * Gives a mount these words of mount(8), beside those that it has. Words that take something away (`suid`)
 * are left out: a bind mount has what the mount below it has, and that stays.
 */
export function addMountWords(at: string, words: readonly string[]): Promise<void> {
  const times = words.flatMap((word) => accessTimes[word] ?? []);
  const set = words.map((word) => attributes[word] ?? 0n).concat(times);
  const request = Buffer.alloc(32); // struct mount_attr: attr_set, attr_clr, propagation, userns_fd.
  request.writeBigUInt64LE(
    set.reduce((all, each) => all | each, 0n),
    0,
  );
  request.writeBigUInt64LE(times.length > 0 ? accessTimeField : 0n, 8);
  return called(`setting ${words.join(',')} on the mount at ${at}`, (done) =>
    syscall.async(mountSetattr, atFdCwd, at, 0, request, request.length, done),
  );
}

/** Runs a call on a thread of Node's pool, because a file system may not answer. */
function called(what: string, call: (done: Done) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    call((error, result) => {
      // Only here, in its callback, is it the error of this call.
      const errno = koffi.errno();
      if (error) reject(error);
      else if (result === 0) resolve();
      else reject(new MountCallError(what, errno));
    });
  });
}
