import { hasCode } from '../error-code.ts';
import type { Name, Xattr } from './calls.ts';
import {
  changeMode,
  changeModeOfFound,
  changeOwner,
  changeOwnerOf,
  changeTimes,
  close,
  look,
  readXattrs,
  writeXattr,
} from './calls.ts';
import type { FileStat } from './file-stat.ts';

/** The owner, mode, times and extended attributes of a file. */
export interface Attributes {
  readonly stat: FileStat;
  readonly xattrs: readonly Xattr[];
}

const modeBits = 0o7777;

/** Reads them from an open file or directory. */
export function attributesOf(fd: number, stat: FileStat): Attributes {
  return { stat, xattrs: readXattrs(fd, { isOpen: true }) };
}

/**
 * Gives them to an open file or directory, when its content is complete. The order matters: a new owner takes
 * away file capabilities and the set-user-ID bit, and an access list changes the mode.
 */
export function giveAttributes(fd: number, { stat, xattrs }: Attributes): void {
  changeOwnerOf(fd, stat.uid, stat.gid);
  for (const xattr of xattrs) giveXattr(fd, xattr);
  changeMode(fd, stat.mode & modeBits);
  changeTimes(fd, stat.times);
}

/** Gives the copy of a link or of a node what the original has, which is a descriptor of `look`. */
export function copyAttributes(found: number, stat: FileStat, to: number, name: Name): void {
  changeOwner(to, name, stat.uid, stat.gid);
  const xattrs = readXattrs(found, { isOpen: false });
  if (xattrs.length > 0 || stat.kind === 'node') {
    const copy = look(to, name);
    try {
      for (const xattr of xattrs) giveXattr(copy, xattr);
      if (stat.kind === 'node') changeModeOfFound(copy, stat.mode & modeBits);
    } finally {
      close(copy);
    }
  }
  changeTimes(to, stat.times, name);
}

/** Attributes that programs rely on; the others belong to this host's kernel, policy or server. */
const mustKeep = /^(user\.|trusted\.|security\.capability\0|system\.posix_acl_)/;

/** A file system without such attributes has none to lose. */
function giveXattr(fd: number, xattr: Xattr): void {
  try {
    writeXattr(fd, xattr);
  } catch (error) {
    const isForeign = !mustKeep.test(xattr.name.toString('latin1'));
    if (!isForeign && !hasCode(error, 'ENOTSUP', 'EOPNOTSUPP')) throw error;
  }
}
