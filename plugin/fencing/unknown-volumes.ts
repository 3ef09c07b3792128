import type { ReleasedMount, SentinelReport } from '../../sentinel/watch.ts';

export interface KernelMount {
  readonly mountpoint: string;
  readonly isMounted: boolean;
}

/** Returns the path at which a volume would be mounted, and whether the kernel has a mount there. */
export type KernelMountOf = (volume: string) => Promise<KernelMount>;

export interface UnknownVolumes {
  /** The mounts that are over. */
  readonly ended: readonly ReleasedMount[];
  /** The mountpoints of the volumes that are still mounted. */
  readonly mounted: ReadonlyMap<string, string>;
}

export const noUnknownVolumes: UnknownVolumes = { ended: [], mounted: new Map() };

/**
 * Sorts what the sentinel watches for an earlier daemon and this daemon has no row of: the mount has
 * ended if the kernel does not have it either; else the volume has to stay guarded.
 */
export async function unknownVolumes(
  { watched = {} }: SentinelReport,
  isOurs: (volume: string) => boolean,
  kernelMountOf: KernelMountOf,
): Promise<UnknownVolumes> {
  const ended: ReleasedMount[] = [];
  const mounted = new Map<string, string>();
  // tidy-ok: protocol name
  for (const [volume, { tenure }] of Object.entries(watched)) {
    if (isOurs(volume)) continue;
    const { mountpoint, isMounted } = await kernelMountOf(volume);
    if (isOurs(volume)) continue; // It was mounted meanwhile.
    if (isMounted) mounted.set(volume, mountpoint);
    else ended.push({ volume, tenure }); // tidy-ok: protocol name
  }
  return { ended, mounted };
}
