import { constants } from 'node:fs';

/** The size of struct statx of <linux/stat.h>. */
export const statBytes = 256;

/** The kinds of files; a node is a fifo, a socket or a device. */
export type FileKind = 'file' | 'directory' | 'link' | 'node';

/** The attributes of a file of any kind, from the kernel. */
export interface FileStat {
  readonly kind: FileKind;
  /** The permissions, with the bits of the kind. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly links: number;
  /** A bigint where a number would not be exact. */
  readonly size: number | bigint;
  /** The bytes on the disk. */
  readonly storedBytes: number;
  /** Device, inode and birth: equal for two names of one file, different for a later file of the same number. */
  readonly identity: string;
  /** The number of the device that a device node means, as mknod(2) takes it. */
  readonly device: number;
  /** Access and change of the content, as two struct timespec. */
  readonly times: Buffer;
}

/** Where each field lies in struct statx (statx(2)). */
const at = {
  ...{ links: 16, uid: 20, gid: 24, mode: 28, inode: 32, size: 40, blocks: 48 },
  ...{
    accessed: 64,
    born: 80,
    changed: 112,
    nodeMajor: 128,
    nodeMinor: 132,
    device: 136,
    mount: 144,
  },
};

/** Returns what a struct statx says; the buffer may be used again. */
export function fileStat(buffer: Buffer): FileStat {
  const mode = buffer.readUInt16LE(at.mode);
  const times = Buffer.allocUnsafe(32);
  buffer.copy(times, 0, at.accessed, at.accessed + 16);
  buffer.copy(times, 16, at.changed, at.changed + 16);
  return {
    kind: kindOf(mode),
    mode,
    uid: buffer.readUInt32LE(at.uid),
    gid: buffer.readUInt32LE(at.gid),
    links: buffer.readUInt32LE(at.links),
    size: sizeAt(buffer, at.size),
    storedBytes: Number(sizeAt(buffer, at.blocks)) * 512,
    identity:
      buffer.toString('latin1', at.inode, at.inode + 8) +
      buffer.toString('latin1', at.born, at.born + 16) +
      buffer.toString('latin1', at.device, at.device + 16),
    device: deviceOf(buffer.readUInt32LE(at.nodeMajor), buffer.readUInt32LE(at.nodeMinor)),
    times,
  };
}

function sizeAt(buffer: Buffer, offset: number): number | bigint {
  const size = buffer.readUInt32LE(offset + 4) * 2 ** 32 + buffer.readUInt32LE(offset);
  return Number.isSafeInteger(size) ? size : buffer.readBigInt64LE(offset);
}

function kindOf(mode: number): FileKind {
  switch (mode & constants.S_IFMT) {
    case constants.S_IFREG:
      return 'file';
    case constants.S_IFDIR:
      return 'directory';
    case constants.S_IFLNK:
      return 'link';
    default:
      return 'node';
  }
}

/** new_encode_dev of the kernel. */
function deviceOf(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}
