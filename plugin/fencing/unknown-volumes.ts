import type { ReleasedMount, SentinelReport } from '../../sentinel/watch.ts';

/** Returns true if the kernel has a mount at this path. */
export type IsMounted = (mountpoint: string) => Promise<boolean>;

/** A volume that the sentinel guards for an earlier daemon. */
export interface UnknownVolume {
  readonly volume: string;
  readonly mountpoint: string;
  /** False: it is not mounted any more, but containers that use it stand still. */
  readonly isMounted: boolean;
}

export interface UnknownVolumes {
  /** The mounts that are over. */
  readonly ended: readonly ReleasedMount[];
  readonly guarded: readonly UnknownVolume[];
}

export const noUnknownVolumes: UnknownVolumes = { ended: [], guarded: [] };

export interface Known {
  /** Returns true if this daemon has a row of the volume. */
  readonly isOurs: (volume: string) => boolean;
  /** Returns where this daemon would mount a volume. */
  readonly mountpointOf: (volume: string) => string;
  readonly isMounted: IsMounted;
}

/**
 * Sorts what the sentinel watches for an earlier daemon and this daemon has no row of: the mount has
 * ended if the kernel does not have it either, and nobody stands still for it; else the volume has to
 * stay guarded.
 */
export async function unknownVolumes(
  { watched = {} }: SentinelReport,
  { isOurs, mountpointOf, isMounted }: Known,
): Promise<UnknownVolumes> {
  const ended: ReleasedMount[] = [];
  const guarded: UnknownVolume[] = [];
  for (const [volume, seen] of Object.entries(watched)) {
    if (isOurs(volume)) continue;
    const { mountpoint = mountpointOf(volume), hasStopped = false } = seen;
    const isStillMounted = await isMounted(mountpoint);
    if (isOurs(volume)) continue; // It was mounted meanwhile.
    if (isStillMounted || hasStopped)
      guarded.push({ volume, mountpoint, isMounted: isStillMounted });
    else ended.push({ volume, tenure: seen.tenure }); // tidy-ok: protocol name
  }
  return { ended, guarded };
}
