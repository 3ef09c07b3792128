import type { Gate, Ticket } from '../lock/ticket.ts';
import type { DriverUsage, Progress } from './drivers/driver.ts';
import type { NotFoundError } from './errors.ts';
import type { LastUse } from './last-use.ts';
import type { Changeable, Snapshot, VolumeRecord, VolumeSource } from './volume.ts';

/**
 * The operations on volumes: the port that the Docker socket and the admin socket serve.
 *
 * Every method that changes something runs under the locks of its operation (see
 * operations/lock-table.ts), rejects with a VolumeError whose message is for the person who asked,
 * and is safe to repeat. `get` and `list` read this host's mirror and never wait.
 */
export interface VolumeService {
  /** Creates a volume. A volume that exists with the same options stays unchanged. */
  create(request: CreateRequest, context: CallContext): Promise<void>;
  /** Removes a volume; refused while any host has it mounted, and while it has snapshots. */
  remove(name: string, context: CallContext): Promise<void>;
  /**
   * Mounts for one mount ID of the engine and returns the mountpoint. When `context.signal` aborts
   * before the caller has answered the engine, call `unmount` with the same ID to roll back.
   */
  mount(name: string, mountId: string, context: CallContext): Promise<string>;
  /**
   * Removes one use of a mount ID. The last one of a volume on this host unmounts the volume and
   * releases its lock. An unknown ID changes nothing.
   */
  unmount(name: string, mountId: string, context: CallContext): Promise<void>;

  /**
   * Changes options of a volume that exists: access, failover, on-lost, protect, and those of its driver that
   * can be changed. Returns them as they are now. Refused while the volume is used in a way that contradicts the change.
   */
  set(
    name: string,
    options: Readonly<Record<string, string>>,
    context: CallContext,
  ): Promise<Changeable>;

  /** Undefined: there is no such volume. Throws UnavailableError when that can't be known now. */
  get(name: string): VolumeView | undefined;
  /** Returns the error for a name that `get` does not know; it says under which name that volume is now. */
  notFound(name: string): NotFoundError;
  /** Lists the volumes whose records this release can use; `unreadable` has the others. */
  list(): readonly VolumeView[];
  /** Names the volumes whose records this release can't use, with what is wrong with each. Never throws. */
  unreadable(): readonly UnreadableVolume[];

  /**
   * Makes a volume larger, at once where it is mounted here, else with its next Mount. Refused while another host
   * has it mounted. A repeat changes nothing.
   */
  resize(name: string, size: string, context: CallContext): Promise<void>;

  /**
   * Gives a volume another name; it keeps its size, options, snapshots and rules. Refused while any host has it mounted,
   * while a container of this host's engine uses it, and if the other name is taken. After a crash in the middle it
   * has its former name, and refuses what needs its storage until a repeat completes the rename.
   */
  rename(name: string, to: string, context: CallContext): Promise<void>;

  /** Takes a snapshot; a name is made from the time when none is given. */
  snapshot(source: VolumeSource, context: CallContext): Promise<Snapshot>;
  removeSnapshot(source: Required<VolumeSource>, context: CallContext): Promise<void>;
  /** Restores the content of a snapshot. Refused while any host has the volume mounted. */
  restoreSnapshot(source: Required<VolumeSource>, context: CallContext): Promise<void>;
  /** Creates the volume `target` as a copy of a volume or of one of its snapshots. */
  copy(source: VolumeSource, target: string, context: CallContext): Promise<void>;
  /** Measures the bytes in use and the limit. */
  usage(name: string): Promise<DriverUsage>;
}

export interface CreateRequest {
  readonly name: string;
  /** The options given with `-o`; a refusal names the unknown or bad ones. */
  readonly options: Readonly<Record<string, string>>;
}

export interface CallContext {
  /** Aborts when the caller is gone. */
  readonly signal: AbortSignal;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** Called each time the operation has to wait for a lock, with the tickets that block it. */
  readonly onWait?: ((blockers: readonly Ticket[]) => void) | undefined;
  /** Says how a snapshot or a copy of a volume in use is made. */
  readonly inUse?: CopyInUse | undefined;
  /** Called by a Remove under its locks, before it changes anything; rejects to end it. */
  readonly check?: ((record: VolumeRecord) => Promise<void>) | undefined;
}

/** Commands in a container around a copy; `after` also runs if `before` or the copy has failed. */
export interface CommandsAround {
  readonly before?: string | undefined;
  readonly after?: string | undefined;
  /** The name or ID of the container; undefined: the only one that uses the volume. */
  readonly container?: string | undefined;
  /** Limits the time of each command. */
  readonly limitMs?: number | undefined;
}

/** How a volume is copied whose files containers of this host may write to meanwhile. */
export interface CopyInUse {
  /** True: the containers write on, and the copy is not of one moment. */
  readonly isLive?: boolean | undefined;
  /** Limits how long they stand still; then the copy fails. Undefined: the host's setting. */
  readonly holdLimitMs?: number | undefined;
  /** Commands in a container that uses the volume, such as to flush a database. */
  readonly commands?: CommandsAround | undefined;
  /** Called when they have stood still for a copy. */
  readonly onStoodStill?: ((ms: number) => void) | undefined;
}

/**
 * - `storage`: what a former host still writes can't reach the volume.
 * - `host`: a former host keeps itself from writing, as long as its kernel runs and its clock counts.
 * - `none`: nothing does; the volume is shared, or its containers go on whatever happens.
 */
export type FencingLevel = 'storage' | 'host' | 'none';

/** The way in which the writes of a host that has lost a volume are kept from it. */
export interface VolumeFencing {
  readonly level: FencingLevel;
  /** The meaning for this volume in this pool, for people. */
  readonly means: string;
}

/** A volume of which only the name is known: its record is damaged, or of a later release. */
export interface UnreadableVolume {
  /** Absent: the record's key has no name that a volume can have. */
  readonly name?: string;
  /** The record's key in the store, for people. */
  readonly key: string;
  readonly isNewer: boolean;
  /** Says what is wrong with the record. */
  readonly why: string;
}

/** One volume as this host knows it. */
export interface VolumeView {
  readonly record: VolumeRecord;
  /** The way in which a former host's writes are kept from the volume. */
  readonly fencing: VolumeFencing;
  /** Tickets on the volume's mount lock in order, holders first; empty: nobody. */
  readonly mountTickets: readonly Ticket[];
  /** When the volume was used last; `now`: it is mounted somewhere, or about to be. */
  readonly lastUse: LastUse | { readonly is: 'now' };
  /** The closed gates of the volume: while there is one, the volume is disabled. */
  readonly gates: readonly Gate[];
  /** The mountpoint on this host and the mount IDs that use it; absent: not mounted here. */
  readonly mounted?: { readonly mountpoint: string; readonly mountIds: readonly string[] };
  /** True: the store has lost the record, and this is what this host remembers. */
  readonly isLost?: boolean;
}
