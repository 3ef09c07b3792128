import { basename } from 'node:path';
import type {
  DriverTakeover,
  DriverVolume,
  LiveSource,
  SnapshotTarget,
  VolumeDriver,
} from '../drivers/driver.ts';
import type { DriverPool } from '../drivers/driver-pool.ts';
import type { DriverStorage } from '../drivers/stored-volume.ts';
import type { DriverTrash } from '../drivers/trash.ts';
import type { TrashEntry } from '../trash-entry.ts';
import { formatEntry } from '../trash-entry.ts';

/** How one kind of call is queued, limited and refused. */
export interface CallKind {
  /** The calls of one lane run one after the other. */
  readonly lane: string;
  /** The volumes that are named when the call does not answer; none: the storage as a whole. */
  readonly volumes: readonly string[];
  /** The work, as a person reads it. */
  readonly work: string;
  /** The call is silent when it has not moved for this long. */
  readonly limitMs: number;
  /** True: it changes nothing, so its caller need not wait for its end. */
  readonly isRead: boolean;
  /** True: it is tried also while other calls on the volume are silent. */
  readonly isAlwaysTried: boolean;
}

/** The members of a driver that touch storage, and so run in the worker. */
export type StorageMethod = Exclude<
  keyof VolumeDriver,
  | 'name'
  | 'capabilities'
  | 'options'
  | 'programs'
  | 'parseOptions'
  | 'promisedBytes'
  | 'owns'
  | 'storage'
  | 'takeover'
  | 'trash'
  | 'pool'
>;

/** The members of a driver's list of its storage, in the worker as well. */
export type ListingMethod = keyof DriverStorage;

/** The members of a driver's pool, in the worker as well. */
export type PoolMethod = Exclude<keyof DriverPool, 'place' | 'markPath'>;

/** The members of a driver's takeover, in the worker as well. */
export type TakeoverMethod = keyof DriverTakeover;

/** The members of a driver's trash, in the worker as well. */
export type TrashMethod = keyof DriverTrash;

const readLimitMs = 10_000;
const changeLimitMs = 20_000;
/** An unmount writes back first: only the kernel knows how far it is. */
const unmountLimitMs = 45_000;
/** A copy moves while its program does; a network file system may pause for a while. */
const copyLimitMs = 60_000;

const change = (work: string, volume: string): CallKind => ({
  ...{ lane: `change ${volume}`, volumes: [volume], work },
  ...{ limitMs: changeLimitMs, isRead: false, isAlwaysTried: false },
});
const unmounting = (work: string, volume: string): CallKind => ({
  ...change(work, volume),
  limitMs: unmountLimitMs,
  isAlwaysTried: true,
});
/** A copy of a directory in use may take hours, and must not keep the volume from being unmounted. */
const copy = (work: string, volume: string, volumes: readonly string[] = [volume]): CallKind => ({
  ...{ lane: `copy ${volume}`, volumes, work },
  ...{ limitMs: copyLimitMs, isRead: false, isAlwaysTried: false },
});
const read = (work: string, subject: string, volumes: readonly string[] = [subject]): CallKind => ({
  ...{ lane: `read ${subject}`, volumes, work },
  ...{ limitMs: readLimitMs, isRead: true, isAlwaysTried: false },
});

/** Returns the kind of each call of a driver, from the arguments of the call. */
export const callKinds = {
  create: ({ name }: DriverVolume) => change('create', name),
  remove: ({ name }: DriverVolume) => change('remove', name),
  mount: ({ name }: DriverVolume) => change('mount', name),
  unmount: ({ name }: DriverVolume) => unmounting('unmount', name),
  abandon: ({ name }: DriverVolume) => unmounting('unmount without writing', name),
  // The last part of a mountpoint is the name of its volume.
  recover: (mountpoint: string) => change('recover', basename(mountpoint)),
  rename: ({ name }: DriverVolume, to: string): CallKind => ({
    ...change('rename', name),
    volumes: [name, to],
  }),
  removeSnapshot: ({ volume }: SnapshotTarget) => change('remove a snapshot', volume.name),
  restore: ({ volume }: SnapshotTarget): CallKind => ({
    ...change('restore', volume.name),
    limitMs: copyLimitMs,
  }),
  grow: ({ name }: DriverVolume): CallKind => ({ ...change('grow', name), limitMs: copyLimitMs }),
  snapshot: ({ volume }: SnapshotTarget) => copy('snapshot', volume.name),
  clone: (source: LiveSource, { name }: DriverVolume) =>
    copy('copy', name, [name, source.volume.name]),
  hasShutDown: ({ name }: DriverVolume) => read('look at', name),
  usage: ({ name }: DriverVolume) => read('measure', name),
  occupied: ({ name }: DriverVolume) => read('measure the storage', name),
} satisfies Record<StorageMethod, (...args: never[]) => CallKind>;

/** Returns the kind of each call of a driver's takeover. */
export const takeoverKinds = {
  ability: (driver: string): CallKind => ({
    ...read(`look at what the pool of driver ${driver} can do`, `ability ${driver}`, []),
    isRead: false, // It makes a file.
  }),
  takeOver: (driver: string, name: string): CallKind => ({
    ...change(`take over (driver ${driver})`, name),
    limitMs: copyLimitMs,
  }),
  putAside: (driver: string, name: string) => read(`list what driver ${driver} put aside`, name),
  discard: (driver: string, name: string) => change(`delete what driver ${driver} put aside`, name),
} satisfies Record<TakeoverMethod, (driver: string, name: string) => CallKind>;

/** Returns the kind of each call about a driver's trash. */
export const trashKinds = {
  put: ({ name }: DriverVolume) => change('move to the trash', name),
  takeOut: (_: TrashEntry, { name }: DriverVolume) => change('take out of the trash', name),
  // A volume of that name may be in use: it has nothing to do with the one that was removed.
  discard: (entry: TrashEntry): CallKind => ({
    ...change(`delete ${formatEntry(entry)} from the trash`, formatEntry(entry)),
    volumes: [],
  }),
  entries: (driver: string) => read(`list the trash of driver ${driver}`, `trash ${driver}`, []),
  identityOf: (driver: string, name: string) => read(`look at storage of driver ${driver}`, name),
  bytes: (entry: TrashEntry) =>
    read(`measure ${formatEntry(entry)} in the trash`, formatEntry(entry), []),
} satisfies Record<TrashMethod, (...args: never[]) => CallKind>;

/** Returns the kind of each call that lists a driver's storage. */
export const listingKinds = {
  find: (driver: string, name: string) => read(`look at storage of driver ${driver}`, name),
  names: (driver: string) => read(`list the storage of driver ${driver}`, driver, []),
  leftovers: (driver: string) => read(`list leftovers of driver ${driver}`, driver, []),
  sweep: (driver: string): CallKind => ({
    ...read(`remove leftovers of driver ${driver}`, `leftovers ${driver}`, []),
    isRead: false,
    limitMs: copyLimitMs,
  }),
} satisfies Record<ListingMethod, (driver: string, name: string) => CallKind>;

/** Returns the kind of each call about a driver's pool. */
export const poolKinds = {
  look: (driver: string) => read(`look at the pool of driver ${driver}`, `pool ${driver}`, []),
  mark: (driver: string): CallKind => ({
    ...change(`mark the pool of driver ${driver}`, `pool ${driver}`),
    volumes: [],
  }),
  space: (driver: string) => read(`measure the pool of driver ${driver}`, `pool ${driver}`, []),
} satisfies Record<PoolMethod, (driver: string) => CallKind>;
