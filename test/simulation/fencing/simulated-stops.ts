import type { Standing, Stops, User } from '../../../sentinel/ports.ts';
import type { Record } from './history.ts';
import type { Kernel } from './kernel.ts';
import type { KernelUser } from './kernel-user.ts';

/** The pause between two moves of a process out of the group that has held it. */
const moveMs = 10;

/** Stops and releases users in the simulated kernel; each call but `forget` takes effect at once. */
export function simulatedStops(
  kernel: Kernel,
  record: Record,
  wait: (ms: number) => Promise<void>,
): Stops {
  const host = kernel.machine.name;
  const find = ({ key }: User) => kernel.users.get(key);
  return {
    standing: async (user) => standingOf(find(user)),
    freeze: async (user) => {
      const target = find(user);
      if (!target) return 'frozen';
      if (target.isFrozen) return target.isAskedByBerth ? 'frozen' : 'found';
      target.isAskedByBerth = true;
      target.askedAt = kernel.machine.scheduler.now;
      record({ kind: 'stopped', host, user: user.key, how: 'frozen' });
      kernel.setFrozen(target, true);
      return 'frozen';
    },
    hold: async (user) => {
      const target = find(user);
      if (!target) return 'held';
      const isFound = target.isFrozen && !target.isAskedByBerth;
      if (!target.isHeldGroupFrozen || target.tasks.some((task) => !task.isHeld)) {
        record({ kind: 'stopped', host, user: user.key, how: 'held' });
        target.hasHeldGroup = true;
        target.isHeldGroupFrozen = true;
        for (const task of target.tasks) task.isHeld = true;
        returnToEngine(kernel, target);
      }
      return isFound ? 'found' : 'held';
    },
    release: async (user, keepsPause) => {
      const target = find(user);
      if (!target) return;
      target.isHeldGroupFrozen = false;
      target.releasedAt = kernel.machine.scheduler.now;
      if (keepsPause) {
        for (const task of target.tasks) task.isHeld = false;
        target.hasHeldGroup = false;
      } else target.isAskedByBerth = true;
      returnToEngine(kernel, target);
    },
    // What it forks meanwhile is left to the next call.
    forget: async (user) => {
      const target = find(user);
      if (!target) return true;
      if (!target.isFrozen) target.isAskedByBerth = false;
      const [task, ...others] = target.tasks.filter(({ isHeld, hasEnded }) => isHeld && !hasEnded);
      if (others.length > 0) await wait(moveMs);
      if (task && target.isHeldGroupFrozen) return false;
      if (task) task.isHeld = false;
      kernel.update(target);
      if (others.length === 0) target.hasHeldGroup = false;
      return others.length === 0;
    },
    isBeingKilled: async (user) => {
      const tasks = find(user)?.tasks ?? [];
      return tasks.some((task) => task.isDying && !task.hasEnded);
    },
    isDying: async (user) => {
      const tasks = find(user)?.tasks ?? [];
      return tasks.every((task) => task.isDying || task.hasEnded);
    },
    kill: async (user) => {
      const target = find(user);
      if (!target) return;
      record({ kind: 'stopped', host, user: user.key, how: 'killed' });
      target.isHeldGroupFrozen = false;
      target.isFrozen = false;
      target.isAskedByBerth = false;
      kernel.kill(target);
    },
  };
}

/** Thaws the container's own group if berth froze it; what its engine froze stays. */
function returnToEngine(kernel: Kernel, user: KernelUser): void {
  if (user.isAskedByBerth) {
    user.isAskedByBerth = false;
    user.isFrozen = false;
  }
  kernel.update(user);
}

function standingOf(user: KernelUser | undefined): Standing {
  const alive = user?.tasks.filter(({ hasEnded }) => !hasEnded) ?? [];
  if (!user || alive.length === 0) return { is: 'ended' };
  if (!alive.every((task) => user.isStopped(task))) return { is: 'running' };
  const isHeld = user.isHeldGroupFrozen && alive.every((task) => task.isHeld);
  const sleepers = alive.filter(({ isSleeping, isBlocked }) => isSleeping || isBlocked);
  if (sleepers.length > 0) return { is: 'freezing', sleepers: [`${user.key} (sleeps)`] };
  return { is: isHeld ? 'held' : 'frozen' };
}
