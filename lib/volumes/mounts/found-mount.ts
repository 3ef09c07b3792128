import type { Mount } from '../../linux/mountinfo.ts';
import { canonical, currentMountsAt, readMounts } from '../../linux/mountinfo.ts';
import type { Condition } from '../../lock/condition.ts';

/** A volume that is, or may be, mounted on this host although the mount table has no row of it. */
export interface FoundMount {
  readonly volume: string;
  readonly mountpoint: string;
  /** False: no mount was seen, but a part of the table that can't be read names the volume. */
  readonly isMounted: boolean;
}

/** Reads the kernel's mounts at a path, lowest first. */
export type MountsAt = (path: string) => Promise<readonly Mount[]>;

export const kernelMountsAt: MountsAt = currentMountsAt;

/** A mount at the mountpoint of a volume. */
export interface VolumeMount extends Mount {
  readonly volume: string;
}

/** Reads the mounts of volumes, one line for each. Mounts deeper down are a container's. */
export async function volumeMounts(mountDir: string): Promise<VolumeMount[]> {
  const prefix = `${await canonical(mountDir)}/`; // The kernel names no symbolic links.
  return (await readMounts()).flatMap((mount) => {
    if (!mount.mountpoint.startsWith(prefix)) return [];
    const volume = mount.mountpoint.slice(prefix.length);
    return volume.includes('/') ? [] : [{ ...mount, volume }];
  });
}

/** Lists the volumes that are, or may be, mounted below a directory, and have no row. */
export async function foundMounts(
  mountDir: string,
  table: { get(volume: string): unknown; readonly doubtful: readonly string[] },
): Promise<FoundMount[]> {
  const mounted = new Set((await volumeMounts(mountDir)).map(({ volume }) => volume));
  return [...new Set([...mounted, ...table.doubtful])]
    .filter((volume) => table.get(volume) === undefined)
    .map((volume) => ({
      volume,
      mountpoint: `${mountDir}/${volume}`,
      isMounted: mounted.has(volume),
    }));
}

/** Says what is wrong with a found mount, and what to do. `why`: why it can't be taken over. */
export function foundText({ volume, mountpoint, isMounted }: FoundMount, why?: string): string {
  if (isMounted && why === undefined) {
    return `the mount of volume ${volume} at ${mountpoint} is not in the mount table; ${waiting}`;
  }
  if (isMounted) {
    return `the mount of volume ${volume} at ${mountpoint} is not in the mount table, and berth can't take it over: ${why}; ${refused}`;
  }
  if (why === undefined) {
    return `the part of the mount table about volume ${volume} can't be read; ${waiting}`;
  }
  return `the part of the mount table about volume ${volume} can't be read, and berth can't take its mount over: ${why}; ${refused}`;
}

const waiting =
  'berth takes the mount over when the store has answered; until then Mount and Remove are refused';

const refused =
  'Mount and Remove are refused; stop what uses the volume here, then unmount it with: ' +
  'berth doctor --fix';

export function foundCondition(found: FoundMount, why?: string): Condition {
  return { severity: why === undefined ? 'warning' : 'error', message: foundText(found, why) };
}
