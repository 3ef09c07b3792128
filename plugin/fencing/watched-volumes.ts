import type { VolumeDriver } from '../../lib/volumes/drivers/driver.ts';
import type { FencedMount } from '../../lib/volumes/mounts/mount-fence.ts';
import type { MountRow } from '../../lib/volumes/mounts/mount-table.ts';
import type { WatchedVolume } from '../../sentinel/watch.ts';

/** A deadline that never comes; JSON has no Infinity. */
const farMs = Number.MAX_SAFE_INTEGER;

/**
 * Returns what the sentinel has to watch of these mounts. `deadlineMs` is Infinity where locks don't
 * expire: no other host is granted one while its holder is away, so only a lock that is lost matters.
 * `stillUntilMs` has the volumes whose users stand still for a copy, with the times when that ends.
 */
export function watchedVolumes(
  mounts: readonly FencedMount[],
  drivers: ReadonlyMap<string, VolumeDriver>,
  deadlineMs: number,
  stillUntilMs: ReadonlyMap<string, number> = new Map(),
): WatchedVolume[] {
  return mounts.flatMap(({ row, isAdopted, ownership }): WatchedVolume[] => {
    const state = ownership();
    const isSafe =
      deadlineMs === Number.POSITIVE_INFINITY && (state === 'held' || state === 'unproven');
    const ownsFileSystem = drivers.get(row.driver)?.capabilities.ownsFileSystem ?? false;
    const untilMs = stillUntilMs.get(row.volume);
    const still = untilMs === undefined ? {} : { stillUntilMs: untilMs };
    const onLost = row.onLost === 'keep' ? 'pause' : row.onLost;
    const watched = { ...watchedVolume(row, onLost, ownsFileSystem), isAdopted, ...still };
    if (row.onLost === 'keep' || isSafe) {
      // Watched for a copy alone.
      return untilMs === undefined ? [] : [{ ...watched, state: 'held', deadlineMs: farMs }];
    }
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
