import type { Gate, Ticket } from '../lock/ticket.ts';
import type { DriverUsage, Progress } from './drivers/driver.ts';
import type { Snapshot, VolumeRecord, VolumeSource } from './volume.ts';

/**
 * What berth does with volumes: the port that the Docker socket and the admin socket serve.
 *
 * Every method that changes something runs under the locks of its operation
 * (see locked-volumes.ts), rejects with a VolumeError whose message is for the person who asked,
 * and is safe to repeat. `get`, `list` and `mountpoint` read this host's mirror and never wait.
 */
export interface VolumeService {
  /** Exists already with the same options: a success that changes nothing. */
  create(request: CreateRequest, context: CallContext): Promise<void>;
  /** Refused while mounted anywhere, and while snapshots exist. */
  remove(name: string, context: CallContext): Promise<void>;
  /**
   * Mounts for one mount ID of the engine and returns the mountpoint. When `context.signal` aborts
   * before the caller has answered the engine, call `unmount` with the same ID to roll back.
   */
  mount(name: string, mountId: string, context: CallContext): Promise<string>;
  /** The last ID of a volume on this host unmounts it and frees its lock. Unknown ID: a success. */
  unmount(name: string, mountId: string, context: CallContext): Promise<void>;

  /** Undefined: there is no such volume. Rejects UnavailableError when that can't be known now. */
  get(name: string): VolumeView | undefined;
  list(): readonly VolumeView[];

  /** Takes a snapshot; a name is made from the time when none is given. */
  snapshot(source: VolumeSource, context: CallContext): Promise<Snapshot>;
  removeSnapshot(source: Required<VolumeSource>, context: CallContext): Promise<void>;
  /** Puts the content of a snapshot back. Refused while the volume is mounted anywhere. */
  restoreSnapshot(source: Required<VolumeSource>, context: CallContext): Promise<void>;
  /** Makes the new volume `target` from a volume or one of its snapshots. */
  copy(source: VolumeSource, target: string, context: CallContext): Promise<void>;
  /** Bytes used and limit, asked of the driver. */
  usage(name: string): Promise<DriverUsage>;
}

export interface CreateRequest {
  readonly name: string;
  /** As given with `-o`; unknown and bad ones are refused by name. */
  readonly options: Readonly<Record<string, string>>;
}

export interface CallContext {
  /** Aborted when the caller is gone. */
  readonly signal: AbortSignal;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** Called each time the operation has to wait for a lock, with who is in the way. */
  readonly onWait?: ((blockers: readonly Ticket[]) => void) | undefined;
}

/** One volume as this host knows it. */
export interface VolumeView {
  readonly record: VolumeRecord;
  /** Tickets on the volume's mount lock in order, holders first; empty: nobody. */
  readonly mountTickets: readonly Ticket[];
  /** The closed ones among its gates: while there are any, it is disabled. */
  readonly gates: readonly Gate[];
  /** Where it is mounted on this host, and for which mount IDs. */
  readonly mounted?: { readonly mountpoint: string; readonly mountIds: readonly string[] };
}
