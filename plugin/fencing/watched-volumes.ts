import type { VolumeDriver } from '../../lib/volumes/drivers/driver.ts';
import type { FencedMount } from '../../lib/volumes/mounts/mount-fence.ts';
import type { MountRow } from '../../lib/volumes/mounts/mount-table.ts';
import type { WatchedVolume } from '../../sentinel/watch.ts';

/**
 * Returns what the sentinel has to watch of these mounts. `deadlineMs` is Infinity where locks don't
 * expire: no other host is granted one while its holder is away, so only a lock that is lost matters.
 */
export function watchedVolumes(
  mounts: readonly FencedMount[],
  drivers: ReadonlyMap<string, VolumeDriver>,
  deadlineMs: number,
): WatchedVolume[] {
  return mounts.flatMap(({ row, isAdopted, ownership }): WatchedVolume[] => {
    const state = ownership();
    const isSafe =
      deadlineMs === Number.POSITIVE_INFINITY && (state === 'held' || state === 'unproven');
    if (row.onLost === 'keep' || isSafe) return [];
    const ownsFileSystem = drivers.get(row.driver)?.capabilities.ownsFileSystem ?? false;
    const watched = { ...watchedVolume(row, row.onLost, ownsFileSystem), isAdopted };
    const hasDeadline = (state === 'held' || state === 'evicted') && Number.isFinite(deadlineMs);
    return [hasDeadline ? { ...watched, state, deadlineMs } : { ...watched, state }];
  });
}

function watchedVolume(
  { volume, mountpoint, ticket, mountMark = ticket.nonce }: MountRow,
  onLost: WatchedVolume['onLost'],
  ownsFileSystem: boolean,
): Omit<WatchedVolume, 'state'> {
  // tidy-ok: protocol name
  return { volume, tenure: mountMark, mountpoint, ownsFileSystem, onLost };
}
