import { dirname, join, relative } from 'node:path';
import { isInside, placeOf, shows } from '../../lib/linux/mount-namespaces.ts';
import type { Mount } from '../../lib/linux/mountinfo.ts';
import { mountsAt } from '../../lib/linux/mountinfo.ts';
import type { MountedVolume, VolumeIdentity } from '../ports.ts';

/** A volume that is looked for. */
export interface SoughtVolume {
  readonly volume: string;
  readonly identity: VolumeIdentity;
  /** The directories that the host's own mount of it covers. */
  readonly places: ReadonlySet<string>;
}

/** Returns what is mounted at a path; undefined if nothing is. */
export function identityIn(own: readonly Mount[], mountpoint: string): VolumeIdentity | undefined {
  const mount = mountsAt(own, mountpoint).at(-1);
  return mount && { device: mount.device, root: mount.root };
}

/** Finds what to look for in this process's mount table; leaves out what was never mounted. */
export function soughtVolumes(
  own: readonly Mount[],
  volumes: readonly MountedVolume[],
): SoughtVolume[] {
  // Indexed, because a host with thousands of volumes has as many mounts.
  const at = Map.groupBy(own, (mount) => mount.mountpoint);
  const byId = new Map(own.map((mount) => [mount.id, mount]));
  const parents = new Map<string, Mount | undefined>();
  const placeIn = (mount: Pick<Mount, 'parentId' | 'mountpoint'>) => {
    const parent = byId.get(mount.parentId);
    return parent && placeOf(mount, [parent]);
  };
  const placeOfPath = (path: string) => {
    const directory = dirname(path);
    if (!parents.has(directory)) parents.set(directory, mountOf(directory, own));
    const below = parents.get(directory);
    return below && placeIn({ parentId: below.id, mountpoint: path });
  };
  return volumes.flatMap(({ volume, mountpoint, identity }) => {
    const stack = mountsAt(at.get(mountpoint) ?? [], mountpoint);
    const top = stack.at(-1);
    // An engine that restarts removes a managed plugin's mounts, but not those of containers.
    const mounted = top ? { device: top.device, root: top.root } : identity;
    if (!mounted) return [];
    const places = [...stack.map(placeIn), placeOfPath(mountpoint)];
    return [
      { volume, identity: mounted, places: new Set(places.filter((place) => place !== undefined)) },
    ];
  });
}

/** Returns the mount that a path lies in. */
function mountOf(path: string, mounts: readonly Mount[]): Mount | undefined {
  return mounts
    .filter(({ mountpoint }) => isInside(path, mountpoint))
    .toSorted((a, b) => a.mountpoint.length - b.mountpoint.length)
    .at(-1);
}

/**
 * Returns true if a mount table shows the volume as a container does, at a place of its own. A copy
 * of a mount of the host's is none: a namespace that was made later has it at the same place, and
 * so has a container that sees the whole host, a monitor, say. What such a process writes there
 * is found by its open files.
 */
export function showsAsItsOwn(
  mounts: readonly Mount[],
  sought: SoughtVolume,
  hostTables: readonly (readonly Mount[])[],
): boolean {
  return mounts.some(
    (mount) => shows(mount, sought.identity) && !isHostsOwn(mount, mounts, sought, hostTables),
  );
}

/** Returns true if the mount is one of the host's own, or a copy that came with its surroundings. */
export function isHostsOwn(
  mount: Mount,
  mounts: readonly Mount[],
  { identity, places }: SoughtVolume,
  hostTables: readonly (readonly Mount[])[],
): boolean {
  const place = placeOf(mount, mounts);
  if (place === undefined) return false;
  if (places.has(place)) return true;
  // `docker cp` of older engines mounts the volume in the host's namespace, on the directory of the
  // container's root file system where the container has it: only what is below that differs.
  const below = placeBelow(mount, mounts);
  return (
    below !== undefined &&
    hostTables.some((table) =>
      table.some(
        (other) =>
          shows(other, identity) &&
          placeOf(other, table) === place &&
          placeBelow(other, table) === below,
      ),
    )
  );
}

/** Returns the place of the mount that a mount stands on. */
function placeBelow({ parentId }: Mount, mounts: readonly Mount[]): string | undefined {
  const parent = mounts.find(({ id }) => id === parentId);
  return parent && placeOf(parent, mounts);
}

/**
 * Returns the path of a volume's directory below a mount that shows a directory above it, as the
 * host's root does; undefined for any other mount. It is the path that the kernel gives for files
 * there.
 */
export function pathThrough(mount: Mount, { identity }: SoughtVolume): string | undefined {
  if (mount.device !== identity.device || mount.root === identity.root) return undefined;
  if (!isInside(identity.root, mount.root)) return undefined;
  return join(mount.mountpoint, relative(mount.root, identity.root));
}
