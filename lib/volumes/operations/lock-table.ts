import type { UseLocker, UseMode } from '../../lock/use/use.ts';
import { UseMount, UseSnapshot } from '../../lock/use/use.ts';
import type { TrashEntry } from '../trash-entry.ts';
import { formatEntry } from '../trash-entry.ts';
import type { Access } from '../volume.ts';

/**
 * The locks of each operation, acquired in ONE atomic step and held while it runs; those of `mount`
 * while the volume is mounted on this host, renewed by its session. Unmount acquires none: it
 * releases this host's own Mount.
 *
 * `quiet` says that a live copy of the volume must not run beside a mount on another host.
 */
export const locks = {
  create: (volume: string): readonly UseLocker[] => [
    UseMount(volume, 'create'),
    UseSnapshot(volume, 'create'),
  ],
  remove: (volume: string) => [UseMount(volume, 'remove'), UseSnapshot(volume, 'remove')],
  mount: (volume: string, access: Access) => UseMount(volume, 'mount', modes[access]),
  snapshot: (volume: string, quiet: boolean) => [
    UseSnapshot(volume, 'snapshot'),
    ...(quiet ? [UseMount(volume, 'snapshot')] : []),
  ],
  resize: (volume: string, quiet: boolean) => [
    UseSnapshot(volume, 'maintenance'),
    ...(quiet ? [UseMount(volume, 'maintenance')] : []),
  ],
  restore: (volume: string) => [UseSnapshot(volume, 'snapshot'), UseMount(volume, 'snapshot')],
  /** `quiet`: the change must not be made beside a mount of the volume. */
  set: (volume: string, quiet: boolean): readonly [UseLocker, ...UseLocker[]] => [
    UseSnapshot(volume, 'set'),
    ...(quiet ? [UseMount(volume, 'set')] : []),
  ],
  rename: (volume: string, to: string) => [
    UseMount(volume, 'rename'),
    UseSnapshot(volume, 'rename'),
    UseMount(to, 'rename'),
    UseSnapshot(to, 'rename'),
  ],
  prune: (volume: string) => [UseSnapshot(volume, 'snapshotPrune')],
  copy: (source: string, target: string, quiet: boolean) => [
    UseMount(target, 'copy'),
    UseSnapshot(target, 'copy'),
    UseSnapshot(source, 'copy'),
    ...(quiet ? [UseMount(source, 'copy')] : []),
  ],
  /** The second name is that of the entry: no volume can have it. */
  restoreRemoved: (entry: TrashEntry, as: string) => [
    ...locks.create(as),
    UseSnapshot(formatEntry(entry), 'create'),
  ],
  discardRemoved: (entry: TrashEntry) => [UseSnapshot(formatEntry(entry), 'remove')],
};

const modes: Record<Access, UseMode> = {
  host: 'exclusive',
  container: 'exclusive',
  shared: 'shared',
};
