import type { MountedVolume, User, UserScan, VolumeIdentity } from '../../../sentinel/ports.ts';
import type { Random } from '../random.ts';
import { longTailed } from '../random.ts';
import type { Kernel } from './kernel.ts';
import type { KernelUser } from './kernel-user.ts';
import type { SimulatedMount } from './simulated-mount.ts';

/** The time that it takes to find the containers by their first processes. */
const plainMs = 20;

export interface SimulatedScanOptions {
  readonly kernel: Kernel;
  readonly random: Random;
  readonly wait: (ms: number) => Promise<void>;
  /** Returns how long a scan takes beyond the usual, or undefined if it can't look. */
  readonly extraMs: () => number | undefined;
}

/**
 * Finds users as a walk over all processes does: it sees half of them at its start and half at its
 * end, so it misses a user that appears behind its back.
 */
export function simulatedScan({ kernel, random, wait, extraMs }: SimulatedScanOptions): UserScan {
  const walk = async (
    volumes: readonly MountedVolume[],
    isHeld: boolean,
    onFound?: (users: readonly User[]) => void,
  ) => {
    const found = new Map<string, User>();
    const isLate = new Map<string, boolean>();
    const see = (late: boolean, behindCrowd: boolean) => {
      for (const user of kernel.users.values()) {
        if (!isLate.has(user.key)) isLate.set(user.key, random() < 0.5);
        if (isLate.get(user.key) !== late || user.hasEnded) continue;
        if (user.isBehindCrowd && !behindCrowd) continue;
        if (isHeld && !user.isTouched && !user.hasHeldGroup) continue;
        const names = usedOf(kernel, user, volumes);
        if (isHeld || names.length > 0) found.set(user.key, user.asUser(names));
      }
    };
    const extra = extraMs();
    if (extra === undefined) throw new Error('EMFILE: too many open files, open /proc');
    // Processes are read in the order of their IDs: those before a crowd are seen before it.
    const [beforeMs, crowdMs] = kernel.newcomers.isCrowded ? [0, extra] : [extra, 0];
    see(false, true);
    const neededMs = longTailed(random, 3, 60) + beforeMs;
    await wait(neededMs / 10);
    onFound?.([...found.values()].filter(({ kind }) => kind === 'container'));
    await wait((neededMs * 9) / 10);
    if (crowdMs > 0) {
      see(true, false);
      onFound?.([...found.values()]);
      await wait(crowdMs);
    }
    see(true, true);
    return [...found.values()];
  };
  return {
    identitiesAt: async (mountpoints) =>
      new Map(
        mountpoints.flatMap((mountpoint) => {
          const identity = kernel.mountAt(mountpoint)?.options.identity;
          return identity ? [[mountpoint, identity]] : [];
        }),
      ),
    users: (volumes, onFound) => walk(volumes, false, onFound),
    plainUsers: async (volumes) => {
      if (extraMs() === undefined) throw new Error('EMFILE: too many open files, open /proc');
      await wait(plainMs);
      return [...kernel.users.values()].flatMap((user) => {
        const names = usedOf(kernel, user, volumes);
        if (user.hasEnded || user.options.kind !== 'container') return [];
        return names.length > 0 ? [user.asUser(names)] : [];
      });
    },
    held: (volumes) => walk(volumes, true),
  };
}

/** Returns the names of those volumes that the user uses. */
function usedOf(kernel: Kernel, user: KernelUser, volumes: readonly MountedVolume[]): string[] {
  return volumes
    .filter(({ mountpoint, identity }) => {
      const current = kernel.mountAt(mountpoint);
      return [...user.mounts].some(
        (mount) => mount === current || (identity !== undefined && isSame(mount, identity)),
      );
    })
    .map(({ volume }) => volume);
}

function isSame(mount: SimulatedMount, { device, root }: VolumeIdentity): boolean {
  const { identity } = mount.options;
  return identity.device === device && identity.root === root;
}
