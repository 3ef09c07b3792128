import type { Watch, WatchedVolume } from './watch.ts';

export interface MergedWatch {
  readonly volumes: readonly WatchedVolume[];
  /** The names of volumes whose former mount has ended; a new mount of the same name may be in `volumes`. */
  readonly ended: readonly string[];
}

/**
 * Merges the daemon's list of mounts with the known ones. A volume that is absent stays, as unproven
 * with its last deadline, until the daemon says that its mount is released. For a daemon of protocol
 * 1 absence means that, unless users are stopped for the volume. A volume whose lock is unproven keeps
 * its last deadline. A mount with another mark whose former mount was not released is the same mount:
 * a daemon that had lost its table has found it in the kernel.
 */
export function mergeWatch(
  known: readonly WatchedVolume[],
  watch: Watch,
  hasStoppedUsers: (volume: string) => boolean,
): MergedWatch {
  const before = new Map(known.map((volume) => [volume.volume, volume]));
  const named = new Set(watch.volumes.map(({ volume }) => volume));
  const isNamed = (volume: WatchedVolume) =>
    watch.released.some((released) => isSameMount(released, volume));
  const isReleased = (volume: WatchedVolume) =>
    watch.protocol < 2 ? !hasStoppedUsers(volume.volume) : isNamed(volume);
  const absent = known.filter(({ volume }) => !named.has(volume));
  const given = watch.volumes.map((volume) => {
    const former = before.get(volume.volume);
    if (volume.state !== 'unproven' || !former || !isSameMount(former, volume)) return volume;
    return { ...volume, deadlineMs: former.deadlineMs };
  });
  const replaced = given.filter((volume) => {
    const former = before.get(volume.volume);
    if (former === undefined || isSameMount(former, volume)) return false;
    return watch.protocol < 2 || isNamed(former);
  });
  const left = absent.filter((volume) => !isReleased(volume));
  return {
    volumes: [...given, ...left.map(unproven)],
    ended: [...replaced, ...absent.filter(isReleased)].map(({ volume }) => volume),
  };
}

type Mount = Pick<WatchedVolume, 'volume' | 'tenure'>; // tidy-ok: protocol name

function isSameMount(a: Mount, b: Mount): boolean {
  return a.volume === b.volume && a.tenure === b.tenure; // tidy-ok: protocol name
}

function unproven(volume: WatchedVolume): WatchedVolume {
  return volume.state === 'held' ? { ...volume, state: 'unproven' } : volume;
}
