import type { MountGuard } from '../../lib/volumes/mounts/mount-guard.ts';

/** For tests without containers: there is nobody to keep from writing. */
export const noGuard: MountGuard = {
  guard: async () => {},
  changed: () => {},
  end: async () => {},
};
