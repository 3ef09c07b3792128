import { messageOf } from '../lib/running/message-of.ts';
import type { View, VolumeView } from './plan.ts';
import { isStill } from './plan.ts';
import { isFileSystemStill } from './volume-fence.ts';
import { mayRun } from './wish.ts';

/** Why a volume is not fenced although its deadline has passed. */
export interface Incomplete {
  readonly message: string;
  /** True if it stays so until somebody acts or something wakes; false if it only takes a moment. */
  readonly isLasting: boolean;
}

/** Returns undefined if the volume is fenced, or need not be yet. */
export function whyIncomplete(
  volume: VolumeView,
  view: View,
  lookFailure: unknown,
): Incomplete | undefined {
  const { watched, fence, wish } = volume;
  if (mayRun(wish) || view.now < (watched.deadlineMs ?? 0)) return undefined;
  const users = view.users.filter(({ user }) => user.volumes.includes(watched.volume));
  const onHost = users.filter(({ user, standing }) => {
    return user.kind === 'host' && standing.is !== 'ended' && !view.fenceHostProcesses;
  });
  if (onHost.length > 0) {
    const list = onHost.map(({ user: { process } }) => `${process?.name} (pid ${process?.pid})`);
    const message =
      `processes of this host itself use it and are not stopped: ${list.join(', ')}; ` +
      'end them, or start berth with --fence-host-processes';
    return { message, isLasting: true };
  }
  const threads = users.filter(({ user: { process }, standing }) => {
    return wish === 'end' && process?.tid !== undefined && standing.is !== 'ended';
  });
  if (threads.length > 0) {
    const list = threads.map(({ user: { process } }) => `${process?.name} (pid ${process?.pid})`);
    const message =
      `the engine copies to it (docker cp) in a thread that stands still and can't be ended alone, ` +
      `in ${list.join(', ')}: restart the engine, which may not answer before that`;
    return { message, isLasting: true };
  }
  if (fence.phase === 'fenced' || fence.phase === 'ended') return undefined;
  const sleepers = users.flatMap(({ standing }) => {
    return standing.is === 'freezing' ? standing.sleepers : [];
  });
  if (sleepers.length > 0) {
    const message = `some of its processes sleep in the kernel and freeze when they wake: ${sleepers.join(', ')}`;
    return { message, isLasting: true };
  }
  if (lookFailure !== undefined) {
    const message = `its users can't be looked for: ${messageOf(lookFailure)}`;
    return { message, isLasting: true };
  }
  if (!isFileSystemStill(fence, watched.ownsFileSystem)) {
    return { message: 'its file system is not frozen yet', isLasting: false };
  }
  if (isStill(volume, view)) return undefined;
  return { message: 'not all of its users stand still yet', isLasting: false };
}
