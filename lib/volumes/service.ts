import type { Gate, Ticket } from '../lock/ticket.ts';
import type { DriverUsage, Progress } from './drivers/driver.ts';
import type { Snapshot, VolumeRecord, VolumeSource } from './volume.ts';

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

  /** Undefined: there is no such volume. Throws UnavailableError when that can't be known now. */
  get(name: string): VolumeView | undefined;
  list(): readonly VolumeView[];

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

/** One volume as this host knows it. */
export interface VolumeView {
  readonly record: VolumeRecord;
  /** The way in which a former host's writes are kept from the volume. */
  readonly fencing: VolumeFencing;
  /** Tickets on the volume's mount lock in order, holders first; empty: nobody. */
  readonly mountTickets: readonly Ticket[];
  /** The closed gates of the volume: while there is one, the volume is disabled. */
  readonly gates: readonly Gate[];
  /** The mountpoint on this host and the mount IDs that use it; absent: not mounted here. */
  readonly mounted?: { readonly mountpoint: string; readonly mountIds: readonly string[] };
}
