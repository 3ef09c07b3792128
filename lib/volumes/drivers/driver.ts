import type { Mount } from '../../linux/mountinfo.ts';
import type { DriverContext, DriverVolume } from './driver-call.ts';
import type { DriverOptions } from './driver-option.ts';
import type { DriverPool } from './driver-pool.ts';
import type { DriverStorage } from './stored-volume.ts';
import type { FormerOwner, PutAside, TakeoverAbility } from './takeover.ts';
import type { DriverTrash } from './trash.ts';

export type { DriverContext, DriverLock, DriverVolume, Progress } from './driver-call.ts';

/**
 * The port to a storage technology.
 *
 * The caller holds the locks of the operation and checks names and existence; a driver only handles
 * storage. Every method is **idempotent** and **safe after a crash at any line**: calling it again
 * completes it. A half-made thing is never visible under its final name (make it under
 * a temporary name, then rename). When a method rejects, storage is as before the call.
 * Programs are run with an argument list, never through a shell.
 */
export interface VolumeDriver {
  readonly name: string;
  readonly capabilities: DriverCapabilities;
  /** The `-o` options of this driver. Every driver has those of shared/owner.ts and shared/mount-options.ts. */
  readonly options: DriverOptions;

  /**
   * The programs that this driver runs itself, with the Debian package of each: an installation needs them,
   * and the error for a missing one names its package.
   */
  readonly programs: Readonly<Record<string, string>>;

  /**
   * Checks and normalises the options of a new volume (`size=1G` → `size=1073741824`), filling in
   * defaults, so that two spellings of the same options compare equal.
   * Throws InvalidRequestError, naming the option and what is allowed. Touches nothing.
   */
  parseOptions(options: Readonly<Record<string, string>>): Record<string, string>;

  /**
   * Creates empty storage, whose root directory has the owner and the mode that the options ask for. Existing
   * storage with content is kept, with its root's owner: resolves to `found` then, and the caller looks at
   * it before anybody uses it. Existing storage that is proved empty, which an interrupted Create left,
   * becomes what these options ask for.
   */
  create(volume: DriverVolume, context: DriverContext): Promise<'made' | 'found'>;

  /**
   * Removes the storage of a volume that is not mounted, with all its snapshots. Resolves also when
   * the storage is gone. Deletes nothing if the store says, after the storage has lost its name, that the
   * lock is lost: it gets its name again.
   */
  remove(volume: DriverVolume, context: DriverContext): Promise<void>;

  /**
   * Mounts the volume at `mountpoint` (an empty directory that the driver creates), with the words of its
   * option `mount-options`. Resolves also
   * when it is mounted there already; never stacks a second mount on the first. After a crash the
   * mount may still be there. With a `takeover`, it never mounts what a later holder of the lock has
   * taken over, however long this host stands still in it.
   */
  mount(volume: DriverVolume, mountpoint: string, context: DriverContext): Promise<void>;

  /**
   * Writes back what is cached, unmounts the volume from `mountpoint`, and removes the directory.
   * Resolves also when it is not mounted. Rejects when it stays busy; it is then still mounted.
   */
  unmount(volume: DriverVolume, mountpoint: string, context: DriverContext): Promise<void>;

  /**
   * Unmounts the volume from `mountpoint`, and removes the directory, **without writing to the
   * storage**, which belongs to another host now: writes that are still cached here are lost. The
   * processes that used the volume have been killed; a process that survived keeps a detached mount.
   * Works on a frozen file system, too; may be repeated. Rejects when the volume is not unmounted,
   * and never unmounts in a way that writes. Ends nothing of another daemon of this machine, which may have
   * the volume mounted by now.
   */
  abandon(volume: DriverVolume, mountpoint: string, context: DriverContext): Promise<void>;

  /**
   * Makes a point-in-time copy inside the volume's own storage. `mountpoint` is given when the
   * volume is mounted on this host: the driver then freezes it if it has to. A copy of that name is
   * replaced: the caller guarantees that no snapshot of that name has a record, and, for
   * `copyNeedsQuiet`, that the volume is neither mounted nor unmounted during the call. Resolves to the bytes
   * that the copy occupies in the pool; what it shares with others counts.
   */
  snapshot(target: SnapshotTarget, context: DriverContext): Promise<number>;

  /** Removes a snapshot. Resolves also when it is gone. */
  removeSnapshot(target: SnapshotTarget, context: DriverContext): Promise<void>;

  /** Replaces the content of a volume that is not mounted with a snapshot's, in one step. */
  restore(target: SnapshotTarget, context: DriverContext): Promise<void>;

  /**
   * Creates the storage of a new volume `target` with the content of `source` (live) or of one of
   * its snapshots. Its root directory has the owner and the mode that the target's options ask for, else
   * those of the source. Existing storage of the target is replaced: the caller guarantees that no volume
   * of that name has a record.
   */
  clone(
    source: SnapshotTarget | LiveSource,
    target: DriverVolume,
    context: DriverContext,
  ): Promise<void>;

  /**
   * Gives the storage of a volume that is not mounted, with its snapshots, another name, in one step. Resolves also
   * if only the other name has storage: an earlier call has done it. Rejects ExistsError if both have, and
   * NotFoundError if none has. If the store says after that step that the lock is lost, the storage gets its
   * former name again. When this resolves, a power cut can't undo it.
   */
  rename(volume: DriverVolume, to: string, context: DriverContext): Promise<void>;

  /**
   * Tells from what the kernel shows at a mountpoint whether this driver mounted it there, for a
   * mount of which berth has no record. No two drivers own one mount.
   */
  owns(mount: Mount): boolean;

  /** The place of all the driver's volumes. Other methods may assume that it is the right one. */
  readonly pool: DriverPool;

  /**
   * Takes volumes over at the storage after an unclean end by another host. Absent: the driver can't;
   * only the former host's own fence, or a fence command, keeps that host from writing.
   */
  readonly takeover?: DriverTakeover;

  /** Keeps removed volumes for a while. Absent: a removed volume is gone at once. */
  readonly trash?: DriverTrash;

  /** Lists the driver's storage, so that the doctor finds what interrupted work has left. */
  readonly storage: DriverStorage;

  /** Returns the bytes that a volume with these options may fill; 0 if it has no size. */
  promisedBytes(volume: DriverVolume): number;

  /**
   * Measures the bytes that a volume and its snapshots occupy in the pool. What several of them share
   * counts in each. A volume without storage occupies nothing.
   */
  occupied(volume: DriverVolume): Promise<Occupied>;

  /**
   * Makes a mounted volume as large as its options say, which is no less than before; its content stays, and
   * who writes to it goes on. May be repeated. Does nothing if it is not mounted: the mount of a volume that was
   * made larger does the same. Absent: a volume can't become larger.
   */
  grow?(volume: DriverVolume, mountpoint: string, context: DriverContext): Promise<void>;

  /** Undoes what a crash may have left on a mounted volume: thaws a frozen file system. */
  recover(mountpoint: string, context: DriverContext): Promise<void>;

  /**
   * Asks the volume's own file system, mounted at `mountpoint`, whether it has shut down after an error of
   * its storage. False for a driver whose volumes have none. Reads only.
   */
  hasShutDown(volume: DriverVolume, mountpoint: string): Promise<boolean>;

  /** Measures the bytes in use and the limit, if any. `mountpoint` is given when mounted here. */
  usage(volume: DriverVolume, mountpoint: string | undefined): Promise<DriverUsage>;
}

/**
 * Keeps a former owner of a volume, which ended without an unmount, from writing to it, at the storage:
 * by a clone of an image, a snapshot of a subvolume, a reservation of a device, a blocked client, a
 * withdrawn attachment.
 *
 *     unclean end ──► takeOver (under the volume's lock, before mount) ──► mount
 *                        │
 *                        └─► what the former owner still writes goes aside, or fails
 *
 *     the former owner can't write any more ──► putAside ──► nothing was written: discard
 *                                             └──► else a person looks at it
 */
export interface DriverTakeover {
  /**
   * Returns what a takeover means in this pool. `isNeeded`: the pool may be prepared for that
   * (its directory is created), because a volume is about to be created in it. Undefined: not known
   * before the first volume is created.
   */
  ability(options: { readonly isNeeded: boolean }): Promise<TakeoverAbility | undefined>;

  /**
   * Keeps the writes of a former owner from the volume: once this has resolved, none reaches the
   * content that the next `mount` shows, whatever that host does. Idempotent for the same `mark`:
   * a repeat after success changes nothing, a repeat after a crash completes the work. Until it
   * resolves, the volume has its old content under its name. Rejects if that can't be ensured.
   */
  takeOver(volume: DriverVolume, former: FormerOwner, context: DriverContext): Promise<void>;

  /** Lists what takeovers of a volume have put aside. Reads only. */
  putAside(volume: DriverVolume): Promise<readonly PutAside[]>;

  /** Deletes what the takeover from `mark` has put aside. Resolves also if it is gone. */
  discard(volume: DriverVolume, mark: string, context: DriverContext): Promise<void>;
}

export interface DriverCapabilities {
  /** `size=` is enforced. A driver that can't refuses the option. */
  readonly size: boolean;
  /** Two hosts may have it mounted at once without destroying it (`access=shared`). */
  readonly multiHostMount: boolean;
  /**
   * A copy is of no use if the volume is written to meanwhile, as a file system is. False: the caller may ask
   * for a copy while containers write on (`--live`).
   */
  readonly copyNeedsQuiet: boolean;
  /** Each volume is a file system of its own, so that a freeze stops this volume alone. */
  readonly ownsFileSystem: boolean;
  /**
   * Volumes can be copied and have snapshots. Otherwise `snapshot`, `restore` and `clone` reject
   * InvalidRequestError, which says what a person can do instead, and change nothing.
   */
  readonly copies: boolean;
  /**
   * A volume is on the host that created it, and on no other. Its pool needs no mark, and other hosts
   * refuse to mount it; they remove its record only.
   */
  readonly hostOnly: boolean;
}

export interface LiveSource {
  readonly volume: DriverVolume;
  /** The volume's mountpoint on this host, if it is mounted here. */
  readonly mountpoint?: string | undefined;
}

export interface SnapshotTarget extends LiveSource {
  readonly snapshot: string;
}

export interface Occupied {
  readonly volumeBytes: number;
  /** The bytes of each snapshot. */
  readonly snapshotsBytes: readonly number[];
}

export interface DriverUsage {
  readonly usedBytes: number;
  readonly sizeBytes?: number;
}

/** Where a driver keeps its volumes, and whom it tells. */
export interface DriverPlace {
  readonly volumeDir: string;
  /** A directory of this host alone, for what the next process has to know in this boot; absent: none. */
  readonly hostDir?: string;
  /**
   * The identity of this host, by which a driver tells what its own daemon has mounted from what other
   * daemons of this machine have; the same after a restart. Absent: there are no others.
   */
  readonly owner?: string;
  /** Receives what an operator should know of a volume although the call succeeded. */
  readonly report?: (volume: string, message: string) => void;
}
