import type { UserView, View, VolumeView } from '../../../sentinel/plan.ts';
import type { Standing, User } from '../../../sentinel/ports.ts';
import type { StoppedUser } from '../../../sentinel/stopped-user.ts';
import { openFence } from '../../../sentinel/volume-fence.ts';
import type { WatchedVolume } from '../../../sentinel/watch.ts';

/** A mounted directory whose deadline is at 10,000 ms. */
export function watched(volume: string, change: Partial<WatchedVolume> = {}): WatchedVolume {
  return {
    ...{ volume, tenure: `${volume}-1`, mountpoint: `/mounts/${volume}` }, // tidy-ok: protocol name
    ...{ ownsFileSystem: false, onLost: 'pause', state: 'held', deadlineMs: 10_000 },
    ...change,
  };
}

/** A volume whose users should stand still since 9,000 ms. */
export function volumeView(name: string, change: Partial<VolumeView> = {}): VolumeView {
  const fence = { ...openFence, phase: 'preparing' as const, stopSinceMs: 9_000 };
  return { watched: watched(name), fence, wish: 'stand-still', ...change };
}

export function container(key: string, ...volumes: string[]): User {
  return { kind: 'container', key, id: key, group: { path: `/cg/${key}`, version: 1 }, volumes };
}

export function userView(user: User, is: Standing['is'], change: Partial<UserView> = {}): UserView {
  const standing = is === 'freezing' ? { is, sleepers: ['cat (pid 7)'] } : { is };
  const mayWrite = is === 'running' || is === 'freezing';
  return {
    user,
    standing,
    stillSinceMs: mayWrite ? undefined : 9_100,
    stopped: undefined,
    ...change,
  };
}

export function stopped(user: User, shown: StoppedUser['shown'] = 'no'): StoppedUser {
  return { user, shown };
}

/** The machine at 9,500 ms: the last look began at 9,200 ms, after everybody stood still. */
export function view(change: Partial<View> = {}): View {
  const volumes = change.volumes ?? [];
  const names = new Set(volumes.map((each) => each.watched.volume));
  const users = (change.users ?? []).map(({ user }) => user);
  return {
    ...{ now: 9_500, volumes, users: [], freezeLimitMs: 500, distrustedBeforeMs: 0 },
    fenceHostProcesses: false,
    look: { beganAtMs: 9_200, tookMs: 10, volumes: names, users },
    ...change,
  };
}
