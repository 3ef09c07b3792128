import type { Standing, Stops, User } from '../../../sentinel/ports.ts';
import type { Record } from './history.ts';
import type { Kernel } from './kernel.ts';
import type { KernelUser } from './kernel-user.ts';

/** Stops and releases users in the simulated kernel; each call takes effect at once. */
export function simulatedStops(kernel: Kernel, record: Record): Stops {
  const host = kernel.machine.name;
  const find = ({ key }: User) => kernel.users.get(key);
  return {
    standing: async (user) => standingOf(find(user)),
    freeze: async (user) => {
      const target = find(user);
      if (!target || target.isFrozen) return;
      target.isAskedByBerth = true;
      target.askedAt = kernel.machine.scheduler.now;
      record({ kind: 'stopped', host, user: user.key, how: 'frozen' });
      kernel.setFrozen(target, true);
    },
    hold: async (user) => {
      const target = find(user);
      if (!target || target.tasks.every((task) => task.isHeld)) return;
      record({ kind: 'stopped', host, user: user.key, how: 'held' });
      target.hasHeldGroup = true;
      for (const task of target.tasks) task.isHeld = true;
      returnToEngine(kernel, target);
    },
    release: async (user, wasPaused) => {
      const target = find(user);
      if (!target) return;
      for (const task of target.tasks) task.isHeld = false;
      target.releasedAt = kernel.machine.scheduler.now;
      if (wasPaused) target.hasHeldGroup = false;
      else target.isAskedByBerth = true;
      returnToEngine(kernel, target);
    },
    forget: async (user) => {
      const target = find(user);
      if (target && !target.tasks.some(({ isHeld }) => isHeld)) target.hasHeldGroup = false;
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
      for (const task of target.tasks) task.isHeld = false;
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
  const isHeld = alive.every((task) => task.isHeld);
  if (!isHeld && !user.isFrozen) return { is: 'running' };
  const sleepers = alive.filter(({ isSleeping, isBlocked }) => isSleeping || isBlocked);
  if (sleepers.length > 0) return { is: 'freezing', sleepers: [`${user.key} (sleeps)`] };
  return { is: isHeld ? 'held' : 'frozen' };
}
