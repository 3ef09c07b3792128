import { chmod, chown } from 'node:fs/promises';
import { InvalidRequestError } from '../../errors.ts';
import type { DriverVolume } from '../driver.ts';
import type { DriverOptions } from '../driver-option.ts';
import { checkedOptions } from './checked-options.ts';

/** Owner and mode of a volume's root directory; undefined: as the driver makes it, or as a copy's source has it. */
export interface RootOwner {
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  /** The permissions, with the bits for the group of new files (02000) and for deleting (01000). */
  readonly mode?: number | undefined;
}

/** The options by which a volume's root directory gets its owner, once, when the volume is made. */
export const ownerOptions = {
  uid: {
    help: 'the number of the user that owns its root directory (default 0)',
    inCopies: 'given',
  },
  gid: {
    help: 'the number of the group of its root directory (default 0)',
    inCopies: 'given',
  },
  mode: {
    help: 'the permissions of its root directory in octal, such as 0700 (default 0755)',
    inCopies: 'given',
  },
} as const satisfies DriverOptions;

type Given = Readonly<Record<string, string | undefined>>;

/** The largest number of a user; the next one means "no change" to chown(2). */
const maxId = 2 ** 32 - 2;
/** setuid (04000) means nothing for a directory. */
const maxMode = 0o3777;

/**
 * Returns the owner's options in their normal form (`uid=0999` → `999`, `mode=700` → `0700`), without
 * those that are not given. Throws InvalidRequestError for what is not possible.
 */
export function parseOwner({ uid, gid, mode }: Given): Record<string, string> {
  return {
    ...(uid !== undefined && { uid: idOf('uid', 'user', uid) }),
    ...(gid !== undefined && { gid: idOf('gid', 'group', gid) }),
    ...(mode !== undefined && { mode: modeOf(mode) }),
  };
}

/**
 * Returns the owner that a volume was created with; undefined: none was given. Throws UnavailableError for
 * what no release has written.
 */
export function ownerOf(volume: DriverVolume): RootOwner | undefined {
  const { uid, gid, mode } = checkedOptions(volume, () => parseOwner(volume.options));
  if (uid === undefined && gid === undefined && mode === undefined) return undefined;
  return {
    uid: uid === undefined ? undefined : Number(uid),
    gid: gid === undefined ? undefined : Number(gid),
    mode: mode === undefined ? undefined : Number.parseInt(mode, 8),
  };
}

/**
 * Gives a root directory its owner and mode; nothing without an owner. May be repeated. The path must not be
 * one that a container can exchange.
 */
export async function giveOwner(root: string, owner: RootOwner | undefined): Promise<void> {
  if (owner === undefined) return;
  const { uid, gid, mode } = owner;
  await chown(root, uid ?? unchanged, gid ?? unchanged);
  if (mode !== undefined) await chmod(root, mode); // After chown(2), which takes the group's bit away.
}

const unchanged = -1;

function idOf(option: string, what: string, text: string): string {
  const id = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (id <= maxId) return String(id);
  throw new InvalidRequestError(
    `${option}=${JSON.stringify(text)} is not possible: use the number that the ${what} has in the image, ` +
      `0 to ${maxId}; a name means another number in each image ` +
      `(docker run --rm IMAGE id NAME shows it)`,
  );
}

function modeOf(text: string): string {
  const mode = /^[0-7]{3,4}$/.test(text) ? Number.parseInt(text, 8) : Number.NaN;
  if (mode <= maxMode) return mode.toString(8).padStart(4, '0');
  throw new InvalidRequestError(
    `mode=${JSON.stringify(text)} is not possible: use three or four octal digits up to 3777, ` +
      'such as 0700 or 1777',
  );
}
