import createDebug from 'debug';
import { never } from '../../running/never.ts';
import type { CallContext, VolumeService } from '../service.ts';
import type { Silences } from '../silence.ts';
import { StorageSilentError } from '../silence.ts';

const debug = createDebug('berth:volumes');

/**
 * Answers the caller of an operation when the storage of its volume does not: rejects
 * StorageSilentError, at once if the silence is known. The operation itself goes on, keeps its locks,
 * and is aborted: it undoes what it has done when the storage answers. Without that another host could
 * have the volume while the kernel of this one still has to complete a call on it.
 */
export function answeredVolumes(volumes: VolumeService, silences: Silences): VolumeService {
  return {
    get: (name) => volumes.get(name),
    list: () => volumes.list(),
    unreadable: () => volumes.unreadable(),
    notFound: (name) => volumes.notFound(name),

    create: (request, context) =>
      answered([request.name], context, (inner) => volumes.create(request, inner)),
    remove: (name, context) => answered([name], context, (inner) => volumes.remove(name, inner)),
    resize: (name, size, context) =>
      answered([name], context, (inner) => volumes.resize(name, size, inner)),
    // It touches no storage.
    set: (name, options, context) => volumes.set(name, options, context),
    rename: (name, to, context) =>
      answered([name, to], context, (inner) => volumes.rename(name, to, inner)),
    snapshot: (source, context) =>
      answered([source.volume], context, (inner) => volumes.snapshot(source, inner)),
    removeSnapshot: (source, context) =>
      answered([source.volume], context, (inner) => volumes.removeSnapshot(source, inner)),
    restoreSnapshot: (source, context) =>
      answered([source.volume], context, (inner) => volumes.restoreSnapshot(source, inner)),
    copy: (source, target, context) =>
      answered([target, source.volume], context, (inner) => volumes.copy(source, target, inner)),

    mount: (name, mountId, context) => {
      const late = async () => {
        // Its caller has an error, so the engine will not unmount the volume.
        await volumes.unmount(name, mountId, { signal: never });
      };
      const mount = (inner: CallContext) => volumes.mount(name, mountId, inner);
      if (silences.of(name) && asksNoStorage(name)) return race([name], context, mount, late);
      return answered([name], context, mount, late);
    },
    unmount: (name, mountId, context) =>
      race([name], context, (inner) => volumes.unmount(name, mountId, inner)),
    usage: (name) => answered([name], { signal: never }, () => volumes.usage(name)),
  };

  /** A further Mount of a mounted volume, unless it would wait for the end of a silent change. */
  function asksNoStorage(name: string): boolean {
    const isChanging = silences.all().some(({ volume, isRead }) => volume === name && !isRead);
    return !isChanging && (volumes.get(name)?.mounted?.mountIds.length ?? 0) > 0;
  }

  async function answered<T>(
    names: readonly string[],
    context: CallContext,
    work: (context: CallContext) => Promise<T>,
    late?: (result: T) => Promise<void>,
  ): Promise<T> {
    for (const name of names) {
      const silence = silences.of(name);
      if (silence) throw new StorageSilentError(silence);
    }
    return await race(names, context, work, late);
  }

  async function race<T>(
    names: readonly string[],
    context: CallContext,
    work: (context: CallContext) => Promise<T>,
    late?: (result: T) => Promise<void>,
  ): Promise<T> {
    const gaveUp = new AbortController();
    const silent = Promise.withResolvers<never>();
    using listening = new DisposableStack();
    for (const name of names) {
      listening.use(
        silences.onSilence(name, (silence) => {
          gaveUp.abort(new StorageSilentError(silence));
          silent.reject(gaveUp.signal.reason);
        }),
      );
    }
    const signal = AbortSignal.any([context.signal, gaveUp.signal]);
    const operation = work({ ...context, signal });
    operation
      .then(
        (result) => (gaveUp.signal.aborted ? late?.(result) : undefined),
        (error) => debug('ended volumes=%s %s', names.join(','), error),
      )
      .catch((error) => debug('late volumes=%s %s', names.join(','), error));
    return await Promise.race([operation, silent.promise]);
  }
}
