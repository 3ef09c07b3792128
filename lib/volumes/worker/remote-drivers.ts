import { never } from '../../running/never.ts';
import type {
  DriverContext,
  DriverPlace,
  DriverTakeover,
  DriverVolume,
  LiveSource,
  SnapshotTarget,
  VolumeDriver,
} from '../drivers/driver.ts';
import type { DriverPool } from '../drivers/driver-pool.ts';
import { drivers } from '../drivers/registry.ts';
import type { DriverStorage } from '../drivers/stored-volume.ts';
import type { DriverTrash } from '../drivers/trash.ts';
import type { TrashEntry } from '../trash-entry.ts';
import type { CallKind } from './calls.ts';
import { callKinds, listingKinds, poolKinds, takeoverKinds, trashKinds } from './calls.ts';
import type { Lanes } from './lanes.ts';
import type { WorkerProcess } from './worker-process.ts';

/**
 * Returns every driver by its name. What touches storage runs in a storage worker; options, names
 * and capabilities are answered here.
 */
export async function remoteDrivers(
  place: DriverPlace,
  lanes: Lanes<WorkerProcess>,
): Promise<ReadonlyMap<string, VolumeDriver>> {
  return new Map(
    [...(await drivers(place))].map(([name, local]) => [name, remoteDriver(local, lanes)]),
  );
}

/** A method of the worker with its answer, which both ends take from the same source. */
type Call = <T>(
  kind: CallKind,
  method: string,
  args: readonly unknown[],
  context?: DriverContext,
) => Promise<T>;

function remoteDriver(local: VolumeDriver, lanes: Lanes<WorkerProcess>): VolumeDriver {
  const { name: driver } = local;
  const call: Call = <T>(
    kind: CallKind,
    method: string,
    args: readonly unknown[],
    context?: DriverContext,
  ) =>
    lanes.run(kind, context?.signal ?? never, async (worker, moved) => {
      return (await worker.call({ driver, method, args, context, moved })) as T;
    });

  return {
    name: driver,
    capabilities: local.capabilities,
    options: local.options,
    programs: local.programs,
    parseOptions: (options) => local.parseOptions(options),
    owns: (mount) => local.owns(mount),
    promisedBytes: (volume) => local.promisedBytes(volume),

    create: (volume, context) => call(callKinds.create(volume), 'create', [sent(volume)], context),
    remove: (volume, context) => call(callKinds.remove(volume), 'remove', [sent(volume)], context),
    mount: (volume, mountpoint, context) =>
      call(callKinds.mount(volume), 'mount', [sent(volume), mountpoint], context),
    unmount: (volume, mountpoint, context) =>
      call(callKinds.unmount(volume), 'unmount', [sent(volume), mountpoint], context),
    abandon: (volume, mountpoint, context) =>
      call(callKinds.abandon(volume), 'abandon', [sent(volume), mountpoint], context),
    snapshot: (target, context) =>
      call(callKinds.snapshot(target), 'snapshot', [sentTarget(target)], context),
    removeSnapshot: (target, context) =>
      call(callKinds.removeSnapshot(target), 'removeSnapshot', [sentTarget(target)], context),
    restore: (target, context) =>
      call(callKinds.restore(target), 'restore', [sentTarget(target)], context),
    clone: (source, target, context) => {
      const from = 'snapshot' in source ? sentTarget(source) : sentSource(source);
      return call(callKinds.clone(source, target), 'clone', [from, sent(target)], context);
    },
    rename: (volume, to, context) =>
      call(callKinds.rename(volume, to), 'rename', [sent(volume), to], context),
    recover: (mountpoint, context) =>
      call(callKinds.recover(mountpoint), 'recover', [mountpoint], context),
    hasShutDown: (volume, mountpoint) =>
      call(callKinds.hasShutDown(volume), 'hasShutDown', [sent(volume), mountpoint]),
    usage: (volume, mountpoint) =>
      call(callKinds.usage(volume), 'usage', [sent(volume), mountpoint]),
    occupied: (volume) => call(callKinds.occupied(volume), 'occupied', [sent(volume)]),
    pool: remotePool(local, call),
    storage: remoteStorage(driver, call),
    ...(local.grow && {
      grow: (volume: DriverVolume, mountpoint: string, context: DriverContext) =>
        call<void>(callKinds.grow(volume), 'grow', [sent(volume), mountpoint], context),
    }),
    ...(local.takeover && { takeover: remoteTakeover(driver, call) }),
    ...(local.trash && { trash: remoteTrash(driver, call) }),
  };
}

/** Returns what the worker needs of a volume: its caller may pass a record, or an object with functions. */
function sent({ name, options }: DriverVolume): DriverVolume {
  return { name, options: { ...options } };
}

function sentSource({ volume, mountpoint }: LiveSource): LiveSource {
  return { volume: sent(volume), mountpoint };
}

function sentTarget({ snapshot, ...source }: SnapshotTarget): SnapshotTarget {
  return { ...sentSource(source), snapshot };
}

function remotePool({ name, pool }: VolumeDriver, call: Call): DriverPool {
  return {
    place: pool.place,
    markPath: pool.markPath,
    look: () => call(poolKinds.look(name), 'pool.look', []),
    mark: (cluster) => call(poolKinds.mark(name), 'pool.mark', [cluster]),
    space: () => call(poolKinds.space(name), 'pool.space', []),
  };
}

function remoteTakeover(driver: string, call: Call): DriverTakeover {
  const { ability, takeOver, putAside, discard } = takeoverKinds;
  return {
    ability: (options) => call(ability(driver), 'takeover.ability', [options]),
    takeOver: (volume, { host, owner, addresses, mark, token, since }, context) => {
      const former = { host, owner, addresses, mark, token, since };
      const kind = takeOver(driver, volume.name);
      return call(kind, 'takeover.takeOver', [sent(volume), former], context);
    },
    putAside: (volume) => call(putAside(driver, volume.name), 'takeover.putAside', [sent(volume)]),
    discard: (volume, mark, context) =>
      call(discard(driver, volume.name), 'takeover.discard', [sent(volume), mark], context),
  };
}

function remoteTrash(driver: string, call: Call): DriverTrash {
  const named = ({ volume, id }: TrashEntry) => ({ volume, id });
  const { put, takeOut, discard, entries, identityOf, bytes } = trashKinds;
  return {
    put: (volume, id, context) => call(put(volume), 'trash.put', [sent(volume), id], context),
    takeOut: (entry, volume, context) => {
      const kept = { ...named(entry), identity: entry.identity };
      return call(takeOut(entry, volume), 'trash.takeOut', [kept, sent(volume)], context);
    },
    discard: (entry, context) => call(discard(entry), 'trash.discard', [named(entry)], context),
    entries: () => call(entries(driver), 'trash.entries', []),
    identityOf: (name) => call(identityOf(driver, name), 'trash.identityOf', [name]),
    bytes: (entry) => call(bytes(entry), 'trash.bytes', [named(entry)]),
  };
}

function remoteStorage(driver: string, call: Call): DriverStorage {
  return {
    names: () => call(listingKinds.names(driver), 'storage.names', []),
    find: (name) => call(listingKinds.find(driver, name), 'storage.find', [name]),
    leftovers: () => call(listingKinds.leftovers(driver), 'storage.leftovers', []),
    sweep: () => call(listingKinds.sweep(driver), 'storage.sweep', []),
  };
}
