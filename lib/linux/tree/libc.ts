// The functions of the C library that Node does not have, by koffi. What an older C library lacks goes through
// syscall(2) by number, so this file knows amd64 and arm64 alone, as koffi's libraries do. They return what the
// kernel says: a negative number is a failure, whose number `errno` returns.

import koffi from 'koffi';

type Numbers = Readonly<Record<'getdents64' | 'statx' | 'mknodat', number>>;
const numbers: Partial<Record<string, Numbers>> = {
  x64: { getdents64: 217, statx: 332, mknodat: 259 },
  arm64: { getdents64: 61, statx: 291, mknodat: 33 },
};
const number = numbersOf(process.arch);

/** The same everywhere but on Alpha. */
const openat2Number = 437;

const c = koffi.load(null);
const openat2Call = c.func(
  'long syscall(long n, int dir, const void *name, void *how, size_t size)',
);
const getdents64Call = c.func('long syscall(long n, int fd, void *entries, size_t size)');
const statxCall = c.func(
  'long syscall(long n, int dir, const void *name, int flags, unsigned int mask, void *stat)',
);
const mknodatCall = c.func(
  'long syscall(long n, int dir, const void *name, unsigned int mode, unsigned int dev)',
);
export const openat = c.func('int openat(int dir, const void *name, int flags, unsigned int mode)');
export const openPath = c.func('int open(const char *path, int flags)');
export const closeFd = c.func('int close(int fd)');
export const mkdirat = c.func('int mkdirat(int dir, const void *name, unsigned int mode)');
export const symlinkat = c.func('int symlinkat(const void *target, int dir, const void *name)');
export const readlinkat = c.func(
  'long readlinkat(int dir, const void *name, void *to, size_t size)',
);
export const linkat = c.func(
  'int linkat(int from, const void *name, int to, const void *newName, int flags)',
);
export const fchownat = c.func(
  'int fchownat(int dir, const void *name, unsigned int uid, unsigned int gid, int flags)',
);
export const fchmod = c.func('int fchmod(int fd, unsigned int mode)');
export const chmod = c.func('int chmod(const char *path, unsigned int mode)');
export const utimensat = c.func('int utimensat(int dir, const void *name, void *times, int flags)');
export const futimens = c.func('int futimens(int fd, void *times)');
export const listxattr = c.func('long listxattr(const char *path, void *names, size_t size)');
export const flistxattr = c.func('long flistxattr(int fd, void *names, size_t size)');
export const getxattr = c.func(
  'long getxattr(const char *path, const void *name, void *value, size_t size)',
);
export const setxattr = c.func(
  'int setxattr(const char *path, const void *name, const void *value, size_t size, int flags)',
);
export const ioctl = c.func('int ioctl(int fd, unsigned long request, long argument)');
export const lseek = c.func('int64_t lseek(int fd, int64_t offset, int whence)');
export const ftruncate = c.func('int ftruncate(int fd, int64_t size)');
export const copyFileRange = c.func(
  'long copy_file_range(int from, void *fromAt, int to, void *toAt, size_t size, unsigned int flags)',
);
export const readFd = c.func('long read(int fd, void *to, size_t size)');
export const writeFd = c.func('long write(int fd, const void *from, size_t size)');

export const errno = () => koffi.errno();

export const openat2 = (directory: number, name: Buffer, how: Buffer, size: number): number =>
  openat2Call(openat2Number, directory, name, how, size);
export const getdents64 = (fd: number, entries: Buffer, size: number): number =>
  getdents64Call(number.getdents64, fd, entries, size);
export const statx = (
  directory: number,
  name: Buffer,
  flags: number,
  mask: number,
  stat: Buffer,
): number => statxCall(number.statx, directory, name, flags, mask, stat);
export const mknodat = (directory: number, name: Buffer, mode: number, device: number): number =>
  mknodatCall(number.mknodat, directory, name, mode, device);

function numbersOf(architecture: string): Numbers {
  const found = numbers[architecture];
  if (!found) throw new Error(`copies are not known on ${architecture}: use amd64 or arm64`);
  return found;
}
