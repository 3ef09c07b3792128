import type { Mode } from '../../lock/ticket.ts';
import { UseMount, UseSnapshot } from '../../lock/use/use.ts';
import type { Access } from '../volume.ts';

/**
 * The locks of each operation, acquired in ONE atomic step and held while it runs; those of `mount`
 * while the volume is mounted on this host, renewed by its session. Unmount acquires none: it
 * releases this host's own Mount.
 *
 * `quiet` says that a live copy of the volume must not run beside a mount on another host.
 */
export const locks = {
  create: (volume: string) => [UseMount(volume, 'create'), UseSnapshot(volume, 'create')],
  remove: (volume: string) => [UseMount(volume, 'remove'), UseSnapshot(volume, 'remove')],
  mount: (volume: string, access: Access) => UseMount(volume, 'mount', modes[access]),
  snapshot: (volume: string, quiet: boolean) => [
    UseSnapshot(volume, 'snapshot'),
    ...(quiet ? [UseMount(volume, 'snapshot')] : []),
  ],
  restore: (volume: string) => [UseSnapshot(volume, 'snapshot'), UseMount(volume, 'snapshot')],
  prune: (volume: string) => [UseSnapshot(volume, 'snapshotPrune')],
  copy: (source: string, target: string, quiet: boolean) => [
    UseMount(target, 'copy'),
    UseSnapshot(target, 'copy'),
    UseSnapshot(source, 'copy'),
    ...(quiet ? [UseMount(source, 'copy')] : []),
  ],
};

const modes: Record<Access, Mode> = {
  host: 'exclusive',
  container: 'exclusive',
  shared: 'shared',
};
