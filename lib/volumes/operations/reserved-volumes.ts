import type { VolumeService } from '../service.ts';

/** The space that berth keeps for its own records. */
export interface Reserve {
  /** Gives it up if there is no other space. True: there was one, so there is room now. Never rejects. */
  give(): Promise<boolean>;
  /** Takes it again if there is room. Never rejects. */
  keep(): Promise<void>;
}

/**
 * Lets operations that make room succeed on a host whose disk is full: the reserve is given up before
 * each, because a lock that can't be released, say, would keep the next operation out.
 */
export function reservedVolumes(volumes: VolumeService, reserve: Reserve): VolumeService {
  return {
    get: (name) => volumes.get(name),
    list: () => volumes.list(),
    unreadable: () => volumes.unreadable(),
    notFound: (name) => volumes.notFound(name),
    create: (request, context) => volumes.create(request, context),
    mount: (name, mountId, context) => volumes.mount(name, mountId, context),
    resize: (name, size, context) => volumes.resize(name, size, context),
    set: (name, options, context) => volumes.set(name, options, context),
    rename: (name, to, context) => volumes.rename(name, to, context),
    snapshot: (source, context) => volumes.snapshot(source, context),
    restoreSnapshot: (source, context) => volumes.restoreSnapshot(source, context),
    copy: (source, target, context) => volumes.copy(source, target, context),
    usage: (name) => volumes.usage(name),

    remove: (name, context) => withRoom(() => volumes.remove(name, context)),
    removeSnapshot: (source, context) => withRoom(() => volumes.removeSnapshot(source, context)),
    unmount: (name, mountId, context) => withRoom(() => volumes.unmount(name, mountId, context)),
  };

  async function withRoom(work: () => Promise<void>): Promise<void> {
    await reserve.give();
    await work();
    await reserve.keep();
  }
}
