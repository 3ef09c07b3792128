import type { LostRecords } from '../records/lost-records.ts';
import type { VolumeService, VolumeView } from '../service.ts';

/** Which volumes are mounted on this host. */
interface MountedHere {
  get(volume: string): unknown;
}

/**
 * Refuses what would change a volume whose record the store has lost, and everything while the store was wiped:
 * only a person knows whether the records come back. Volumes that are mounted here stay usable, because this
 * host has their locks, and can be unmounted.
 */
export function presentVolumes(
  volumes: VolumeService,
  lost: Pick<LostRecords, 'refuse' | 'has'>,
  mounts: MountedHere,
): VolumeService {
  async function present<T>(names: readonly string[], work: () => Promise<T>): Promise<T> {
    lost.refuse(...names);
    return await work();
  }
  /** The note of a last use is lost together with the record. */
  const marked = (view: VolumeView): VolumeView => {
    const isLost = lost.has(view.record.name);
    const { lastUse } = view;
    if (!isLost) return view;
    return { ...view, isLost, lastUse: lastUse.is === 'now' ? lastUse : { is: 'unknown' } };
  };
  return {
    get: (name) => {
      const view = volumes.get(name);
      return view && marked(view);
    },
    list: () => volumes.list().map(marked),
    unreadable: () => volumes.unreadable(),
    notFound: (name) => volumes.notFound(name),
    usage: (name) => volumes.usage(name),
    unmount: (name, mountId, context) => volumes.unmount(name, mountId, context),

    mount: async (name, mountId, context) => {
      if (!mounts.get(name)) lost.refuse(name);
      return await volumes.mount(name, mountId, context);
    },
    create: (request, context) => present([request.name], () => volumes.create(request, context)),
    remove: (name, context) => present([name], () => volumes.remove(name, context)),
    resize: (name, size, context) => present([name], () => volumes.resize(name, size, context)),
    set: (name, options, context) => present([name], () => volumes.set(name, options, context)),
    rename: (name, to, context) => present([name, to], () => volumes.rename(name, to, context)),
    snapshot: (source, context) =>
      present([source.volume], () => volumes.snapshot(source, context)),
    removeSnapshot: (source, context) =>
      present([source.volume], () => volumes.removeSnapshot(source, context)),
    restoreSnapshot: (source, context) =>
      present([source.volume], () => volumes.restoreSnapshot(source, context)),
    copy: (source, target, context) =>
      present([source.volume, target], () => volumes.copy(source, target, context)),
  };
}
