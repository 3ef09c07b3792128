// The system calls mount(2) and umount2(2), which Node does not have: koffi calls the functions of the C
// library. Importing this file fails where koffi has no library for the machine (mounting.ts).

import { getSystemErrorMessage, getSystemErrorName } from 'node:util';
import koffi from 'koffi';

/** Flags of <sys/mount.h>, the same on every architecture. */
const msBind = 0x1000;
const detach = 2;

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
const umount2 = libc.func('int umount2(const char *target, int flags)');

/** Makes one directory appear at another one, without what is mounted below it. */
export function bindMount(from: string, at: string): Promise<void> {
  const what = `the bind mount of ${from} at ${at}`;
  return called(what, (done) => mount.async(from, at, null, msBind, null, done));
}

/**
 * Removes the topmost mount at a path; the kernel writes a file system back with its last mount. Lazily: no
 * process finds the mount any more, and it ends with its last user.
 */
export function unmount(at: string, { isLazy }: { readonly isLazy: boolean }): Promise<void> {
  return called(`the unmount of ${at}`, (done) => umount2.async(at, isLazy ? detach : 0, done));
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
