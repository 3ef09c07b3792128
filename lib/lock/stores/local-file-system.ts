import { statfsSync } from 'node:fs';

/** Returns the type of the file system at a path, as statfs(2) does. */
export type ReadFileSystemType = (path: string) => number;

/** The file systems that only the kernel of one host can have mounted, by their type. */
const ofOneHost: ReadonlyMap<number, string> = new Map([
  [0xef53, 'ext4'],
  [0x5846_5342, 'xfs'],
  [0x9123_683e, 'btrfs'],
  [0x2fc1_2fc1, 'zfs'],
  [0xf2f5_2010, 'f2fs'],
  [0xca45_1a4e, 'bcachefs'],
  [0x3153_464a, 'jfs'],
  [0x5265_4973, 'reiserfs'],
  [0x3434, 'nilfs2'],
  [0x0102_1994, 'tmpfs'],
  [0x8584_58f6, 'ramfs'],
  [0x794c_7630, 'overlayfs'],
]);

/** Names others in the message. */
const shared: ReadonlyMap<number, string> = new Map([
  [0x6969, 'NFS'],
  [0x517b, 'SMB'],
  [0xff53_4d42, 'CIFS'],
  [0xfe53_4d42, 'SMB 2'],
  [0x0102_1997, '9P'],
  [0x00c3_6400, 'CephFS'],
  [0x5346_414f, 'AFS'],
  [0x6573_5546, 'FUSE (sshfs, GlusterFS and others)'],
  [0x0bd0_0bd0, 'Lustre'],
  [0x0116_1970, 'GFS2'],
  [0x7461_636f, 'OCFS2'],
  [0x4750_4653, 'GPFS'],
  [0x786f_4256, 'a shared folder of VirtualBox'],
  [0x00c0_ffee, 'a shared folder of User-mode Linux'],
]);

/**
 * Throws unless `path` is on a file system of one host. On a shared one, locks of files and shared memory do not
 * reach the other hosts, or depend on a server: two hosts would hold one lock. A type that is not known to be
 * local counts as shared.
 */
export function requireLocalFileSystem(
  what: string,
  path: string,
  readType: ReadFileSystemType = (at) => statfsSync(at).type,
): void {
  const type = readType(path) >>> 0;
  if (ofOneHost.has(type)) return;
  const found = shared.get(type) ?? `a file system of type 0x${type.toString(16)}`;
  throw new Error(
    `${what} is on ${found}, where two hosts could hold one lock; ` +
      `it must be on a local file system: ${[...ofOneHost.values()].join(', ')}`,
  );
}
