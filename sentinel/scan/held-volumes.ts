import { shows } from '../../lib/linux/mount-namespaces.ts';
import type { Mount } from '../../lib/linux/mountinfo.ts';
import type { Holdings } from './holdings.ts';
import { holds } from './holdings.ts';
import type { MountTables, TabledMount } from './mount-tables.ts';
import type { SoughtVolume } from './volume-views.ts';
import { isHostsOwn, pathThrough } from './volume-views.ts';

/** A volume that a task may write to through what it holds in one mount. */
export type Held =
  /** The mount shows the volume. */
  | { readonly is: 'part'; readonly sought: SoughtVolume; readonly bits: Bits }
  /** The mount shows more than the volume: the path below which a file must lie. */
  | {
      readonly is: 'more';
      readonly sought: SoughtVolume;
      readonly bits: Bits;
      readonly mountId: number;
      readonly path: string;
    }
  /** No mount table has the mount: it is the kernel's own, or was detached (`umount -l`). */
  | { readonly is: 'unknown'; readonly mountId: number };

/** The bits of `holds` that count for a process in a container, and for one of the host's. */
export interface Bits {
  readonly inContainer: number;
  readonly onHost: number;
}

/**
 * Returns which holdings count:
 *
 * - A host's process counts while it has a file open for writing, or a directory of the volume as
 *   root, working directory or descriptor (a shell). Files that it reads do not: a backup that only
 *   reads does no harm, though it keeps the mount busy.
 * - A container's process counts in the same way, and also with a file open for reading: a process
 *   that was passed such a descriptor can open the file again for writing.
 * - Through a container's view of the host (a copy of the host's own mount, or a mount that shows more
 *   than the volume) only files open for writing count: a monitor reads. A container that holds the
 *   host's mount itself, not a copy, has been passed the descriptor.
 * - Through a read-only mount only files that are open for writing count, if any are.
 */
export function bitsOf(held: number, { isReadOnly, isView }: Way): Bits {
  const { directory, forWriting, forReading } = holds;
  if (isReadOnly) return { inContainer: held & forWriting, onHost: held & forWriting };
  return {
    inContainer: held & (isView ? forWriting : forWriting | directory | forReading),
    onHost: held & (forWriting | directory),
  };
}

/** How a task came to what it holds. */
export interface Way {
  readonly isReadOnly: boolean;
  /** The mount belongs to a view of the host that a container has. */
  readonly isView: boolean;
}

/** Returns what of the volumes these holdings reach. */
export function heldVolumes(
  holdings: Holdings,
  all: readonly SoughtVolume[],
  tables: Pick<MountTables, 'has' | 'mountOf'>,
  hostTables: readonly (readonly Mount[])[],
): Held[] {
  return [...holdings].flatMap(([mountId, held]): Held[] => {
    const tabled = tables.mountOf(mountId);
    if (tabled) return all.flatMap((sought) => heldIn(tabled, held, sought, hostTables));
    return tables.has(mountId) ? [] : [{ is: 'unknown', mountId }];
  });
}

function heldIn(
  { mount, table }: TabledMount,
  held: number,
  sought: SoughtVolume,
  hostTables: readonly (readonly Mount[])[],
): Held[] {
  const isReadOnly = mount.options.includes('ro');
  const isCopy = !hostTables.includes(table);
  if (shows(mount, sought.identity)) {
    const isView = isCopy && isHostsOwn(mount, table, sought, hostTables);
    return [{ is: 'part', sought, bits: bitsOf(held, { isReadOnly, isView }) }];
  }
  const path = pathThrough(mount, sought);
  if (path === undefined) return [];
  const bits = bitsOf(held, { isReadOnly, isView: isCopy });
  return [{ is: 'more', sought, bits, mountId: mount.id, path }];
}
