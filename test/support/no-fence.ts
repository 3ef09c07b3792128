import type { MountFence } from '../../lib/volumes/mounts/mount-fence.ts';

/** A fence for tests without containers: nobody has to be kept from writing. */
export const noFence: MountFence = {
  watch: async () => {},
  changed: () => {},
  end: async () => {},
};
