import type { VolumeService } from '../service.ts';

/** The space that berth keeps for its own records. */
export interface Reserve {
  /** Gives it up if there is no other space. True: a write that has failed may be repeated. */
  give(): Promise<boolean>;
  /** Takes it again if there is room. Never rejects. */
  keep(): Promise<void>;
}

/**
 * Lets operations that make room succeed on a host whose disk is full: when one fails, the reserve is
 * given up, and the operation is repeated once. Each of them may be repeated.
 */
export function reservedVolumes(volumes: VolumeService, reserve: Reserve): VolumeService {
  return {
    get: (name) => volumes.get(name),
    list: () => volumes.list(),
    create: (request, context) => volumes.create(request, context),
    mount: (name, mountId, context) => volumes.mount(name, mountId, context),
    snapshot: (source, context) => volumes.snapshot(source, context),
    restoreSnapshot: (source, context) => volumes.restoreSnapshot(source, context),
    copy: (source, target, context) => volumes.copy(source, target, context),
    usage: (name) => volumes.usage(name),

    remove: (name, context) => repeated(() => volumes.remove(name, context)),
    removeSnapshot: (source, context) => repeated(() => volumes.removeSnapshot(source, context)),
    unmount: (name, mountId, context) => repeated(() => volumes.unmount(name, mountId, context)),
  };

  async function repeated(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(await reserve.give())) throw error;
      await work();
      await reserve.keep();
    }
  }
}
