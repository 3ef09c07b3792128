import type { Watch, WatchChange, WatchedVolume } from './watch.ts';
import { isSameMount, isSameVolume } from './watch.ts';

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
    return withFormerDeadline(volume, before.get(volume.volume));
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

/**
 * Merges a change with the known mounts: a volume that the change names replaces the known one of its
 * name, one whose mount it names as released leaves, and all others stay as they are.
 */
export function mergeChange(
  known: readonly WatchedVolume[],
  { volumes, released }: Pick<WatchChange, 'volumes' | 'released'>,
): MergedWatch {
  const given = new Map(volumes.map((volume) => [volume.volume, volume]));
  const named = new Set([...given.keys(), ...released.map(({ volume }) => volume)]);
  const before = new Map<string, WatchedVolume>();
  const ended: string[] = [];
  const left = known.filter((volume) => {
    if (!named.has(volume.volume)) return true;
    before.set(volume.volume, volume);
    const isReleased = released.some((each) => isSameMount(each, volume));
    const next = given.get(volume.volume);
    if (isReleased && !(next && isSameMount(next, volume))) ended.push(volume.volume);
    return !isReleased && !next;
  });
  const merged = volumes.map((volume) => withFormerDeadline(volume, before.get(volume.volume)));
  return { volumes: [...left, ...merged], ended };
}

/**
 * Returns the one deadline that all proved locks have now, if nothing else has changed between two
 * watches: the usual case, once a second and at each renewal. Undefined: something else has changed.
 */
export function newDeadline(before: Watch, after: Watch): number | undefined {
  const { volumes } = after;
  const deadlineMs = volumes.find((volume) => volume.deadlineMs !== undefined)?.deadlineMs;
  if (deadlineMs === undefined || volumes.length !== before.volumes.length) return undefined;
  const isSame =
    settingsOf(before) === settingsOf(after) &&
    volumes.every((volume, index) => {
      const former = before.volumes[index];
      return former !== undefined && differOnlyBy(deadlineMs, former, volume);
    });
  return isSame ? deadlineMs : undefined;
}

/** Returns the volumes with another deadline for all that have one. */
export function withDeadline(volumes: readonly WatchedVolume[], deadlineMs: number) {
  return volumes.map((volume) =>
    volume.deadlineMs === undefined ? volume : { ...volume, deadlineMs },
  );
}

function settingsOf({ volumes: _, released: _released, ...settings }: Watch) {
  return JSON.stringify(settings);
}

function differOnlyBy(deadlineMs: number, former: WatchedVolume, volume: WatchedVolume): boolean {
  const isDeadline =
    volume.deadlineMs === deadlineMs
      ? former.deadlineMs !== undefined
      : volume.deadlineMs === undefined && former.deadlineMs === undefined;
  return isDeadline && isSameVolume(former, volume);
}

/** A volume whose lock is unproven keeps its last deadline. */
function withFormerDeadline(volume: WatchedVolume, former: WatchedVolume | undefined) {
  if (volume.state !== 'unproven' || !former || !isSameMount(former, volume)) return volume;
  return { ...volume, deadlineMs: former.deadlineMs };
}

function unproven(volume: WatchedVolume): WatchedVolume {
  return volume.state === 'held' ? { ...volume, state: 'unproven' } : volume;
}
