import type { Mount } from '../../linux/mountinfo.ts';
import type { DriverStorage } from './stored-volume.ts';

/**
 * The port to a storage technology.
 *
 * The caller holds the locks of the operation and checks names and existence; a driver only does
 * storage. Every method is **idempotent** and **safe after a crash at any line**: calling it again
 * finishes what was begun. A half-made thing is never visible under its final name (make it under
 * a temporary name, then rename). When a method rejects, storage is as before the call.
 * Programs are run with an argument list, never through a shell.
 */
export interface VolumeDriver {
  readonly name: string;
  readonly capabilities: DriverCapabilities;
  /** The `-o` options it understands, with one line of help each. */
  readonly options: Readonly<Record<string, string>>;

  /**
   * Checks and normalises the options of a new volume (`size=1G` → `size=1073741824`), filling in
   * defaults, so that two spellings of the same wish compare equal.
   * Throws InvalidRequestError, naming the option and what is allowed. Touches nothing.
   */
  parseOptions(options: Readonly<Record<string, string>>): Record<string, string>;

  /** Makes empty storage. When it exists already, keeps it and its content. */
  create(volume: DriverVolume, context: DriverContext): Promise<void>;

  /** Removes the storage of a volume that is not mounted, with all its snapshots. Gone: a success. */
  remove(volume: DriverVolume, context: DriverContext): Promise<void>;

  /**
   * Makes the volume's content appear at `mountpoint` (an empty directory the driver creates).
   * Already mounted there: a success; never stacks a second mount on the first.
   * After a crash the mount may stand; `mounted` tells.
   */
  mount(volume: DriverVolume, mountpoint: string, context: DriverContext): Promise<void>;

  /**
   * Flushes and takes the volume away from `mountpoint`, and removes the directory.
   * Not mounted: a success. Rejects when it stays busy; it is then still mounted.
   */
  unmount(volume: DriverVolume, mountpoint: string, context: DriverContext): Promise<void>;

  /**
   * Takes the volume away from `mountpoint`, and removes the directory, **without writing to the
   * storage**, which belongs to another host now: what this host has not written yet is lost. For
   * a volume whose processes have been killed; one that lives on loses sight of it. Also for a
   * frozen one; repeating is a success. Rejects when it is not done, and never unmounts in a way
   * that writes.
   */
  abandon(volume: DriverVolume, mountpoint: string, context: DriverContext): Promise<void>;

  /**
   * Makes a point-in-time copy inside the volume's own storage. `mountpoint` is given when the
   * volume is mounted on this host: the driver then makes it still (freeze) if it has to. A copy
   * of that name is replaced: the caller vouches that no snapshot of that name has a record, and,
   * where `copyNeedsQuiet`, that the volume is neither mounted nor unmounted meanwhile.
   */
  snapshot(target: SnapshotTarget, context: DriverContext): Promise<void>;

  /** Removes a snapshot. Gone: a success. */
  removeSnapshot(target: SnapshotTarget, context: DriverContext): Promise<void>;

  /** Replaces the content of a volume that is not mounted by that of a snapshot, in one step. */
  restore(target: SnapshotTarget, context: DriverContext): Promise<void>;

  /**
   * Makes the storage of a new volume `target` with the content of `source` (live) or of one of
   * its snapshots. When the target's storage exists already, it is replaced: the caller vouches
   * that no volume of that name has a record.
   */
  clone(
    source: SnapshotTarget | LiveSource,
    target: DriverVolume,
    context: DriverContext,
  ): Promise<void>;

  /**
   * Tells from what the kernel shows at a mountpoint whether this driver mounted it there, for a
   * mount of which berth has no record. No two drivers own one mount.
   */
  owns(mount: Mount): boolean;

  /** What there is, for finding what interrupted work has left. */
  readonly storage: DriverStorage;

  /** What a crash may have left in force on a mounted volume is undone (a frozen file system). */
  recover(mountpoint: string, context: DriverContext): Promise<void>;

  /** Bytes in use and, where there is a limit, the limit. `mountpoint` when mounted here. */
  usage(volume: DriverVolume, mountpoint: string | undefined): Promise<DriverUsage>;
}

export interface DriverCapabilities {
  /** `size=` is enforced. A driver that can't refuses the option. */
  readonly size: boolean;
  /** Two hosts may have it mounted at once without destroying it (`access=shared`). */
  readonly multiHostMount: boolean;
  /**
   * A live copy is consistent only on the host where the volume is mounted, or while it is
   * mounted nowhere.
   */
  readonly copyNeedsQuiet: boolean;
  /** What is mounted is a file system of the volume's own: a freeze stops this volume alone. */
  readonly ownsFileSystem: boolean;
}

export interface DriverVolume {
  readonly name: string;
  /** As `parseOptions` returned them. */
  readonly options: Readonly<Record<string, string>>;
}

export interface LiveSource {
  readonly volume: DriverVolume;
  /** Where it is mounted on this host, if it is. */
  readonly mountpoint?: string | undefined;
}

export interface SnapshotTarget extends LiveSource {
  readonly snapshot: string;
}

export interface DriverUsage {
  readonly usedBytes: number;
  readonly sizeBytes?: number;
}

/** What a call carries besides its arguments. */
export interface DriverContext {
  /** Aborted when the caller's locks are lost or the caller gave up: stop, undo, reject. */
  readonly signal: AbortSignal;
  /** Called now and then during a long copy. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

export interface Progress {
  readonly doneBytes: number;
  readonly totalBytes: number;
}
