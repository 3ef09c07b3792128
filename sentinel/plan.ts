import { demandOn } from './demand.ts';
import type { Look } from './looks.ts';
import type { Standing, User } from './ports.ts';
import type { StoppedUser } from './stopped-user.ts';
import type { VolumeFence } from './volume-fence.ts';
import { isFileSystemStill } from './volume-fence.ts';
import type { WatchedVolume } from './watch.ts';
import type { Wish } from './wish.ts';
import { mayRun } from './wish.ts';

/*
 * What to do next, as a function of what is known. A step of the sentinel reads the machine, plans,
 * writes what it is about to do, and acts; the next step sees the result. So each action is planned
 * again until it is seen to have worked, by whichever process is the sentinel then.
 */

export interface VolumeView {
  readonly watched: WatchedVolume;
  readonly fence: VolumeFence;
  readonly wish: Wish;
}

export interface UserView {
  readonly user: User;
  readonly standing: Standing;
  /** The time when it was first seen to stand still; undefined while it may write. */
  readonly stillSinceMs: number | undefined;
  /** Set when the sentinel has stopped it. */
  readonly stopped: StoppedUser | undefined;
}

export interface View {
  readonly now: number;
  readonly volumes: readonly VolumeView[];
  readonly users: readonly UserView[];
  readonly look: Look | undefined;
  /**
   * How long after the deadline a file system may take to freeze before it is shut down: a part of the
   * margin, because a shutdown loses what is not synced.
   */
  readonly freezeLimitMs: number;
  /** Deadlines before this moment prove nothing: the clock has jumped. */
  readonly distrustedBeforeMs: number;
  readonly fenceHostProcesses: boolean;
}

export interface StorageAction {
  readonly do: 'flush' | 'freeze' | 'cut off' | 'thaw';
  readonly volume: WatchedVolume;
}

export type Action =
  | StorageAction
  | { readonly do: 'enter'; readonly volume: string; readonly change: Partial<VolumeFence> }
  | { readonly do: 'ask'; readonly volume: WatchedVolume; readonly user: User }
  | {
      readonly do: 'stop' | 'hold' | 'kill';
      readonly user: User;
      readonly wasPaused: boolean;
      /** True: only until a copy is made, which is no news for people. */
      readonly isForCopy?: boolean;
    }
  /** `show`: make the engine show the pause, and end who is killed meanwhile. */
  | { readonly do: 'show' | 'release'; readonly stopped: StoppedUser }
  | { readonly do: 'forget'; readonly user: User };

/** A failed freeze is repeated after this time. */
const freezeRetryMs = 100;
/**
 * How long a freeze may take at most that begins after its deadline, as after a pause of the machine: the
 * lease may have ended.
 */
const lateFreezeMs = 500;

export function plan(view: View): Action[] {
  const volumes = [...view.volumes].sort(byDeadline);
  const byName = new Map(volumes.map((each) => [each.watched.volume, each]));
  return [
    ...volumes.flatMap((volume) => fileSystemActions(volume, view)),
    ...view.users
      .map((user) => ({ user, deadlineMs: earliestDeadline(user.user, byName) }))
      .sort((a, b) => a.deadlineMs - b.deadlineMs)
      .flatMap(({ user }) => userActions(user, byName, view)),
    ...volumes.flatMap((volume) => phaseActions(volume, view)),
  ];
}

function fileSystemActions({ watched, fence, wish }: VolumeView, view: View): Action[] {
  const { now, freezeLimitMs, distrustedBeforeMs } = view;
  const { fs, fsSinceMs, stopSinceMs } = fence;
  // Where nothing is mounted yet, a freeze succeeds and means nothing.
  const mayFreeze = fence.identity && (fs !== 'open' || now - fsSinceMs >= freezeRetryMs);
  const freeze: Action[] = mayFreeze ? [{ do: 'freeze', volume: watched }] : [];
  // A freeze that was requested may have been completed by a process that was killed then.
  const mayBeFrozen = fs === 'frozen' || fs === 'freezing';
  switch (wish) {
    case 'run':
    case 'copy':
      return mayBeFrozen ? [{ do: 'thaw', volume: watched }] : [];
    case 'prepare':
    case 'ask':
      if (mayBeFrozen) return [{ do: 'thaw', volume: watched }];
      return fence.phase === 'running' && fs === 'open' ? [{ do: 'flush', volume: watched }] : [];
    case 'stand-still': {
      if (!watched.ownsFileSystem || isFileSystemStill(fence, true)) return [];
      if (!fence.identity) return [];
      const lateMs = (stopSinceMs ?? now) + Math.min(freezeLimitMs, lateFreezeMs);
      const limitMs = Math.max((watched.deadlineMs ?? 0) + freezeLimitMs, lateMs);
      return now >= limitMs ? [{ do: 'cut off', volume: watched }] : freeze;
    }
    case 'end': {
      if (!watched.ownsFileSystem) return [];
      const { state, deadlineMs = Number.POSITIVE_INFINITY } = watched;
      if (state === 'lost' || now >= deadlineMs) {
        return fs === 'cut-off' ? [] : [{ do: 'cut off', volume: watched }];
      }
      // A shutdown would lose data, and the jump may mean nothing.
      if (deadlineMs < distrustedBeforeMs) return isFileSystemStill(fence, true) ? [] : freeze;
      // A process that waits in a frozen file system can't die, and this host still has the volume.
      return mayBeFrozen ? [{ do: 'thaw', volume: watched }] : [];
    }
  }
}

function phaseActions(volume: VolumeView, view: View): Action[] {
  const { watched, fence, wish } = volume;
  const { volume: name, onLost } = watched;
  const enter = (change: Partial<VolumeFence>): Action[] => [{ do: 'enter', volume: name, change }];
  const fenced = { phase: 'fenced' as const, fencedSinceMs: view.now };
  const isOpen = fence.fs === 'open' || fence.fs === 'flushing';
  // A thaw may have worked before its end is seen, so the volume counts as fenced no longer.
  const beforeThaw = fence.phase === 'fenced' ? enter(notFenced) : [];
  switch (wish) {
    case 'run':
      if (!isOpen) return beforeThaw;
      return fence.phase === 'running' ? [] : enter(running);
    case 'prepare':
      if (!isOpen) return beforeThaw;
      if (fence.phase === 'running') return enter({ phase: 'preparing' });
      return fence.phase === 'preparing' || fence.phase === 'asked'
        ? []
        : enter({ ...running, phase: 'preparing' });
    case 'ask': {
      if (!isOpen) return beforeThaw;
      if (fence.phase === 'asked') return [];
      if (!view.look?.volumes.has(name)) return [];
      const users = view.users.filter(({ user }) => user.volumes.includes(name));
      return [
        ...users
          .filter(({ user }) => user.kind === 'container')
          .map(({ user }): Action => ({ do: 'ask', volume: watched, user })),
        ...enter({ ...running, phase: 'asked' }),
      ];
    }
    case 'copy':
    case 'stand-still': {
      if (fence.stopSinceMs === undefined) {
        const phase = fence.phase === 'running' ? 'preparing' : fence.phase;
        return enter({ phase, stopSinceMs: view.now });
      }
      const isForCopy = wish === 'copy';
      const isOpen = !isForCopy && !isFileSystemStill(fence, watched.ownsFileSystem);
      const isDone = isStill(volume, view) && !isOpen;
      if (!isDone) return fence.phase === 'fenced' ? enter(notFenced) : [];
      const kills = !isForCopy && onLost === 'stop' && !isEmpty(name, view);
      if (fence.phase === 'fenced' || kills) return [];
      return enter(fenced);
    }
    case 'end':
      if (fence.stopSinceMs === undefined) {
        return enter({ phase: 'preparing', stopSinceMs: view.now });
      }
      if (!isEmpty(name, view)) {
        // A frozen file system is thawed for users to end in.
        const isOver = !watched.ownsFileSystem || fence.fs === 'cut-off';
        if (isOver && isStill(volume, view)) return fence.phase === 'fenced' ? [] : enter(fenced);
        // A container may start whose Mount was granted before the loss.
        return fence.phase === 'ended' || fence.phase === 'fenced' ? enter(notFenced) : [];
      }
      if (fence.phase === 'ended' || !isLookedFor(volume, view)) return [];
      if (watched.state === 'lost' && !isFileSystemStill(fence, watched.ownsFileSystem)) return [];
      return enter({ phase: 'ended', fencedSinceMs: view.now });
  }
}

const notFenced: Partial<VolumeFence> = { phase: 'preparing', fencedSinceMs: undefined };
const running: Partial<VolumeFence> = {
  phase: 'running',
  ...{ stopSinceMs: undefined, fencedSinceMs: undefined, complaint: '' },
};

function userActions(
  { user, standing, stopped }: UserView,
  volumes: ReadonlyMap<string, VolumeView>,
  view: View,
): Action[] {
  const demand = demandOn(user, volumes);
  if (standing.is === 'ended') {
    // Its engine may still pause it, late, when it has been started again.
    const isAsked = stopped?.shown === 'asked' && stopped.releasedAtMs !== undefined;
    if (isAsked && demand === 'run') return [{ do: 'release', stopped }];
    return stopped || demand === 'end' ? [{ do: 'forget', user }] : [];
  }
  if (demand === 'run') {
    return stopped && areUsersKnown(view.volumes, view.look)
      ? releaseActions(stopped, volumes)
      : [];
  }
  if (user.kind === 'host' && !view.fenceHostProcesses) return [];
  const isNew = stopped === undefined || stopped.releasedAtMs !== undefined;
  const wasPaused = stopped ? stopped.shown === 'persons' : standing.is === 'frozen';
  if (demand === 'end') return [{ do: 'kill', user, wasPaused }];
  const isForCopy = demand === 'stand still for a copy';
  if (isNew || standing.is === 'running')
    return [{ do: 'stop', user, wasPaused, ...(isForCopy && { isForCopy }) }];
  if (standing.is !== 'held') return [{ do: 'hold', user, wasPaused }];
  return isForCopy ? [] : [{ do: 'show', stopped }];
}

/**
 * Returns true if a look has found the users of all volumes that may not run. Until then a user may
 * be known by some of its volumes only.
 */
export function areUsersKnown(volumes: readonly VolumeView[], look: Look | undefined): boolean {
  return volumes.every(({ watched: { volume }, fence: { stopSinceMs }, wish }) => {
    if (mayRun(wish)) return true;
    if (!look?.volumes.has(volume)) return false;
    return look.beganAtMs >= (stopSinceMs ?? Number.POSITIVE_INFINITY);
  });
}

/** A process that goes on while its file system is frozen would only wait in it. */
function releaseActions(stopped: StoppedUser, volumes: ReadonlyMap<string, VolumeView>): Action[] {
  const fences = stopped.user.volumes.map((name) => volumes.get(name)?.fence.fs ?? 'open');
  const isOpen = fences.every((fs) => fs === 'open' || fs === 'flushing');
  return isOpen ? [{ do: 'release', stopped }] : [];
}

/**
 * Returns true if nobody can write through a process: every known user stands still, and a look
 * that began after that, and after the stop itself had begun, has found no other. In a file system
 * that is frozen or cut off a process may also sleep: version 2 of control groups does not freeze
 * one that waits in a frozen file system.
 */
export function isStill(
  { watched: { volume, ownsFileSystem }, fence }: VolumeView,
  { users, look }: Pick<View, 'users' | 'look'>,
): boolean {
  if (!look?.volumes.has(volume)) return false;
  if (look.beganAtMs < (fence.stopSinceMs ?? Number.POSITIVE_INFINITY)) return false;
  const maySleep = ownsFileSystem && isFileSystemStill(fence, ownsFileSystem);
  return users.every(({ user, standing, stillSinceMs }) => {
    if (!user.volumes.includes(volume)) return true;
    if (maySleep && standing.is === 'freezing') return true;
    return (stillSinceMs ?? Number.POSITIVE_INFINITY) <= look.beganAtMs;
  });
}

/** Returns true if all known users stand still, and only another look can show that nobody else writes. */
export function needsLook(volume: VolumeView, view: View): boolean {
  const { users, look, fenceHostProcesses } = view;
  const name = volume.watched.volume;
  if (!look?.volumes.has(name)) return true;
  const using = users.filter(({ user }) => {
    return user.volumes.includes(name) && (user.kind !== 'host' || fenceHostProcesses);
  });
  const maySleep = isFileSystemStill(volume.fence, true) && volume.watched.ownsFileSystem;
  const areStill = using.every(({ standing: { is } }) => {
    return is !== 'running' && (is !== 'freezing' || maySleep);
  });
  return areStill && !isStill(volume, { users: using, look });
}

/** Returns true if a look that began after the last user had ended has found no other. */
function isLookedFor(volume: VolumeView, { users, look, fenceHostProcesses }: View): boolean {
  const mayStop = ({ user }: UserView) => user.kind !== 'host' || fenceHostProcesses;
  return isStill(volume, { users: users.filter(mayStop), look });
}

/** Returns true if no user is left but processes of the host that it may not stop. */
function isEmpty(volume: string, { users, fenceHostProcesses }: View): boolean {
  return users.every(({ user, standing }) => {
    if (!user.volumes.includes(volume) || standing.is === 'ended') return true;
    return user.kind === 'host' && !fenceHostProcesses;
  });
}

function byDeadline(a: VolumeView, b: VolumeView): number {
  return (a.watched.deadlineMs ?? 0) - (b.watched.deadlineMs ?? 0);
}

function earliestDeadline(user: User, volumes: ReadonlyMap<string, VolumeView>): number {
  return Math.min(...user.volumes.map((name) => volumes.get(name)?.watched.deadlineMs ?? 0));
}
