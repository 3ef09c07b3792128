import type { MountGuard } from '../../lib/volumes/mounts/mount-guard.ts';

/** Fences nothing: for tests without containers, where no process writes to a volume. */
export const noFence: MountGuard = {
  guard: async () => {},
  changed: () => {},
  end: async () => {},
};
