import { messageOf } from '../lib/running/message-of.ts';
import type { UserView, View, VolumeView } from './plan.ts';
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
  const isEarly = wish !== 'copy' && view.now < (watched.deadlineMs ?? 0);
  if (mayRun(wish) || isEarly) return undefined;
  const users = view.users.filter(
    ({ user, standing }) => user.volumes.includes(watched.volume) && standing.is !== 'ended',
  );
  const beyondReach =
    hostProcesses(users, view) ?? (wish === 'end' ? engineThreads(users) : undefined);
  if (beyondReach) return { message: beyondReach, isLasting: true };
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

function hostProcesses(
  users: readonly UserView[],
  { fenceHostProcesses }: View,
): string | undefined {
  const found = users.filter(({ user }) => user.kind === 'host' && !fenceHostProcesses);
  if (found.length === 0) return undefined;
  return (
    `processes of this host itself use it and are not stopped: ${namesOf(found)}; ` +
    'end them, or start berth with --fence-host-processes'
  );
}

/** An engine that copies in a thread of its own process: the thread ends only with that. */
function engineThreads(users: readonly UserView[]): string | undefined {
  const found = users.filter(({ user: { process } }) => process?.tid !== undefined);
  if (found.length === 0) return undefined;
  const isStopped = found.every(({ standing }) => standing.is !== 'running');
  return (
    `the engine copies to it (docker cp) in a thread that ${isStopped ? 'stands still' : 'writes on'} ` +
    `and can't be ended alone, in ${namesOf(found)}: restart the engine, which may not answer before that`
  );
}

function namesOf(users: readonly UserView[]): string {
  return users.map(({ user: { process } }) => `${process?.name} (pid ${process?.pid})`).join(', ');
}
