import type { GateReply, HolderReply } from './locks.ts';
import type { SnapshotReply } from './snapshots.ts';

/** The way in which the writes of a host that has lost a volume are kept from it. */
export interface FencingReply {
  readonly level: 'storage' | 'host' | 'none';
  /** The meaning for this volume in this pool, for people. */
  readonly means: string;
}

/** The last use of a volume. */
export interface LastUseReply {
  /** `now`: it is mounted, or about to be. `never`: nobody has mounted it. `unknown`: its host did not say. */
  readonly is: 'now' | 'ended' | 'never' | 'unknown';
  /** The end of its last use (RFC 3339), if it has ended. */
  readonly at?: string;
}

export interface VolumeReply {
  readonly name: string;
  readonly driver: string;
  readonly access: string;
  readonly failover: string;
  readonly onLost: string;
  /** True: Remove is refused; absent in the answer of an earlier release. */
  readonly protect?: boolean;
  readonly fencing: FencingReply;
  readonly options: Readonly<Record<string, string>>;
  readonly createdAt: string;
  readonly createdBy: string;
  readonly from?: string;
  /** The kind of the copy, as in SnapshotReply; absent: it is no copy, or that is not known. */
  readonly copyKind?: string;
  /** The time of its last use; absent in the answer of an earlier release. */
  readonly lastUse?: LastUseReply;
  /** Oldest first. */
  readonly snapshots: readonly SnapshotReply[];
  /** The holders of the volume's content; several if they share it. */
  readonly holders: readonly HolderReply[];
  readonly waiting: readonly HolderReply[];
  /** Present while the volume is disabled. */
  readonly gate?: GateReply;
  /** True: the store has lost its record, and this is what this host remembers. */
  readonly lost?: boolean;
  /** The mount on this host, with its mount IDs. */
  readonly mounted?: { readonly mountpoint: string; readonly mountIds: readonly string[] };
}

export interface VolumeDetailReply extends VolumeReply {
  readonly usage?: { readonly usedBytes: number; readonly sizeBytes?: number };
  /** The reason why there is no usage. */
  readonly usageError?: string;
}

/** The options of a volume that can be changed, as they are now. */
export interface RulesReply {
  readonly access: string;
  readonly failover: string;
  readonly onLost: string;
  /** True: Remove is refused. */
  readonly protect: boolean;
  /** The options of the driver that can be changed. */
  readonly options: Readonly<Record<string, string>>;
}

/** A volume of which only the name is known: its record is damaged, or of a later release. */
export interface UnreadableReply {
  readonly name?: string;
  /** The record's key in the store. */
  readonly key: string;
  readonly isNewer: boolean;
  readonly why: string;
}

/** All volumes. */
export interface VolumesReply {
  readonly volumes: readonly VolumeReply[];
  /** Absent in the answers of earlier releases. */
  readonly unreadable?: readonly UnreadableReply[];
}

/** A volume that nobody has used for the time that was asked for. */
export interface UnusedReply {
  readonly name: string;
  readonly driver: string;
  /** RFC 3339: the end of its last use, or the time of its creation if nobody has used it. */
  readonly unusedSince: string;
  /** The reason why it is not removed; absent: it may be, or was. */
  readonly kept?: string;
}

/** The unused volumes, unused for the longest time first, and the names of those that were removed. */
export interface PruneReply {
  readonly unused: readonly UnusedReply[];
  readonly removed: readonly string[];
}
