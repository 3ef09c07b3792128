import { lstat, mkdir, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode } from '../../../linux/error-code.ts';
import { ExistsError, NotFoundError } from '../../errors.ts';
import type { TrashEntry } from '../../trash-entry.ts';
import { formatEntry, parseEntry } from '../../trash-entry.ts';
import type { DriverContext, DriverVolume } from '../driver.ts';
import type { DriverTrash, StoredEntry } from '../trash.ts';
import { childPath } from './child-path.ts';
import { confirmed, keptIfConfirmed } from './confirmed.ts';
import { treeBytes } from './copy.ts';
import { lookFresh } from './fresh-names.ts';
import { exists, syncNames } from './storage-files.ts';
import { discard } from './temporary.ts';

export interface DirectoryTrashOptions {
  /** Rejects while the storage of a volume is in use. */
  readonly unused?: (volume: DriverVolume, context: DriverContext) => Promise<void>;
  /** Begins to delete what crashes have left, as every method of the driver that changes something does. */
  readonly beginSweep?: () => void;
  /** Receives what a person should know of storage that could not be deleted. */
  readonly report?: ((volume: string, message: string) => void) | undefined;
}

const measureLimitMs = 60_000;

/**
 * Returns the trash of a driver whose volumes are entries of the directory `base`:
 *
 *     BASE/NAME  ◄─ rename ─►  BASE/.trash/NAME@ID
 *
 * The identity of storage is the inode number of its directory, which a rename keeps.
 *
 * | a host is frozen      | and goes on after its successor has finished                              |
 * |-----------------------|---------------------------------------------------------------------------|
 * | before its rename     | the name is gone, or the place is taken (a directory never replaces one   |
 * |                       | with content), so the rename fails. Else the store says afterwards that   |
 * |                       | the lock is lost, and the rename is undone                                |
 * | after its rename      | the store says that the lock is lost. The rename is undone, unless the    |
 * |                       | storage or its former name is another's by now; the doctor finds the rest |
 */
export function directoryTrash(
  base: string,
  { unused = async () => {}, beginSweep, report }: DirectoryTrashOptions = {},
): DriverTrash {
  const trash = join(base, '.trash');
  const placeOf = (entry: TrashEntry) => childPath(trash, formatEntry(entry));
  const homeOf = (name: string) => childPath(base, name);

  return {
    async put(volume, id, context) {
      beginSweep?.();
      context.signal.throwIfAborted();
      const [home, place] = [homeOf(volume.name), placeOf({ volume: volume.name, id })];
      const [identity, moved] = await inodesOf(home, place);
      if (identity === undefined) return moved;
      await unused(volume, context);
      await mkdir(trash, { mode: 0o700 }).catch(ifCode('EEXIST'));
      await renameUnlessLost(home, place, identity, context);
      return identity;
    },

    async takeOut(entry, volume, context) {
      beginSweep?.();
      const [home, place] = [homeOf(volume.name), placeOf(entry)];
      const [there, kept] = await inodesOf(home, place);
      if (kept === undefined) {
        if (there === entry.identity) return;
        throw new NotFoundError(`the storage of ${formatEntry(entry)} in the trash is not there`);
      }
      if (there !== undefined) {
        throw new ExistsError(
          `there is storage of a volume ${volume.name} already; berth doctor tells what it is`,
        );
      }
      await confirmed(context);
      await renameUnlessLost(place, home, kept, context);
    },

    async discard(entry, context) {
      beginSweep?.();
      const tell = (message: string) => report?.(entry.volume, message);
      await discard(placeOf(entry), base, context, { tell });
    },

    async entries() {
      const names = await readdir(trash).catch(ifCode('ENOENT', 'ENOTDIR'));
      const found = (names ?? []).sort().map((name) => parseEntry(name));
      return (await Promise.all(found.map((entry) => entry && described(entry)))).filter(isKnown);
    },

    identityOf: (name) => lookFresh([base], () => inodeOf(homeOf(name))),

    async bytes(entry) {
      const place = placeOf(entry);
      return (await exists(place)) ? await treeBytes(place, { timeoutMs: measureLimitMs }) : 0;
    },
  };

  /** Looks for the storage of a volume under its name and in the trash, as other hosts have left it. */
  function inodesOf(home: string, place: string): Promise<(string | undefined)[]> {
    return lookFresh([base, trash], () => Promise.all([inodeOf(home), inodeOf(place)]));
  }

  async function described(entry: TrashEntry): Promise<StoredEntry | undefined> {
    const stats = await lstat(placeOf(entry)).catch(ifCode('ENOENT'));
    return stats && { ...entry, identity: `${stats.ino}`, since: stats.ctime.toISOString() };
  }
}

/** Renames a directory, and undoes that if the store says afterwards that the caller has lost its lock. */
async function renameUnlessLost(
  from: string,
  to: string,
  identity: string,
  context: DriverContext,
): Promise<void> {
  await rename(from, to);
  await keptIfConfirmed(
    context,
    () => syncNames(from, to),
    async () => {
      // A later holder of the lock may have gone on from here.
      if ((await exists(from)) || (await inodeOf(to)) !== identity) return;
      await rename(to, from);
      await syncNames(from, to);
    },
  );
}

async function inodeOf(path: string): Promise<string | undefined> {
  const stats = await lstat(path).catch(ifCode('ENOENT'));
  return stats && `${stats.ino}`;
}

/** Returns a handler that answers undefined for errors with these codes, and rethrows others. */
function ifCode(...codes: readonly string[]): (error: unknown) => undefined {
  return (error) => {
    if (!hasCode(error, ...codes)) throw error;
    return undefined;
  };
}

function isKnown<T>(value: T | undefined): value is T {
  return value !== undefined;
}
