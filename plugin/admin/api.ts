/*
 * The admin socket answers with JSON of these types, under `/v1`. Long work answers with one
 * LongWorkEvent per line (NDJSON) as soon as there is something to report. Work that fails before
 * its first event is answered with a FailureReply and an HTTP status.
 */

/** A holder of a lock, or a waiter for it. */
export interface HolderReply {
  readonly token: number;
  readonly host: string;
  readonly reason: string;
  /** RFC 3339, by the holder's clock. */
  readonly since: string;
  readonly detail?: string;
}

/** One granted or queued request for locks of volumes. */
export interface TicketReply extends HolderReply {
  readonly state: 'held' | 'waiting';
  readonly uses: readonly {
    readonly volume: string;
    readonly facet: string;
    readonly mode: string;
  }[];
}

/** A disabled volume: who disabled it, and why. No host may start to use it. */
export interface GateReply {
  readonly volume: string;
  /** The locks that are disabled: both, unless the command was interrupted. */
  readonly facets: readonly string[];
  readonly host: string;
  /** RFC 3339, by that host's clock. */
  readonly since: string;
  readonly why?: string;
}

/** The locks of all volumes, or of one. */
export interface LocksReply {
  /** The tickets, in token order. */
  readonly tickets: readonly TicketReply[];
  /** The disabled volumes. */
  readonly gates: readonly GateReply[];
}

/** The Mounts of a volume that other hosts have not ended, although their locks are gone; oldest first. */
export interface UncleanEndsReply {
  readonly uncleanEnds: readonly GoneReply['gone'][];
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

/** A Mount that a host has not ended and, as an operator says, can't write through any more. */
export interface GoneReply {
  readonly gone: {
    readonly volume: string;
    readonly host: string;
    /** The time of that Mount (RFC 3339), by that host's clock. */
    readonly since: string;
    readonly token: number;
  };
}

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

/** A removed volume that the trash keeps. */
export interface RemovedReply {
  readonly volume: string;
  /** Tells the removed volumes of one name apart. */
  readonly id: string;
  readonly driver: string;
  readonly options: Readonly<Record<string, string>>;
  /** The names of its snapshots, oldest first. */
  readonly snapshots: readonly string[];
  /** RFC 3339. */
  readonly removedAt: string;
  /** The host that removed it. */
  readonly removedBy: string;
  /** RFC 3339. It goes earlier if its pool needs the space. */
  readonly keptUntil: string;
  /** The bytes that it occupies. */
  readonly bytes?: number;
  /** The reason why that could not be measured. */
  readonly bytesError?: string;
}

/** The removed volumes, the first removed first. */
export interface TrashReply {
  /** Milliseconds for which this host keeps what it removes; 0: not at all. Absent in the answer of an earlier release. */
  readonly termMs?: number;
  readonly removed: readonly RemovedReply[];
}

/** A removed volume that was restored, and the name that it has now. */
export interface RestoredReply {
  readonly volume: string;
  readonly id: string;
  readonly removedAt: string;
  readonly as: string;
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

export interface SnapshotReply {
  readonly name: string;
  readonly createdAt: string;
  /** `moment`, or `live`: files copied one after the other while they were in use. Absent: not known. */
  readonly kind?: string | undefined;
  /** The bytes that it occupied in the pool when it was taken. Absent: not known. */
  readonly bytes?: number | undefined;
  /** The snapshot that its content descends from. */
  readonly parent?: string | undefined;
}

/** The end of a copy of a volume in use. */
export interface StoodStill {
  /** How long its containers stood still; absent if they did not have to. */
  readonly stoodStillMs?: number;
}

export interface SnapshotTaken extends StoodStill {
  readonly snapshot: SnapshotReply;
}

export interface VolumeDetailReply extends VolumeReply {
  readonly usage?: { readonly usedBytes: number; readonly sizeBytes?: number };
  /** The reason why there is no usage. */
  readonly usageError?: string;
}

/** One server of the store. A field is absent while its value is not known. */
export interface MemberReply {
  /** `host:port`. */
  readonly endpoint: string;
  readonly name?: string;
  readonly reachable: boolean;
  /** Why it can't be reached, in a few words. */
  readonly why?: string;
  readonly role?: 'leader' | 'follower' | 'no leader';
  /** The name of the leader that it follows. */
  readonly leader?: string;
  readonly version?: string;
  readonly databaseBytes?: number;
  /** The size of the database at which it refuses writes. */
  readonly quotaBytes?: number;
}

/** The state of the daemon. */
export interface StatusReport {
  /** The release of berth that the daemon runs; absent in the answer of an earlier one. */
  readonly release?: string;
  readonly host: string;
  readonly store: {
    readonly kind: string;
    readonly reachable: boolean;
    /** Absent: the store has no servers, or an earlier release answers. */
    readonly members?: readonly MemberReply[];
  };
  /** The mounts of this host, each with the state of its lock. */
  readonly mounts: readonly {
    readonly volume: string;
    readonly mountpoint: string;
    readonly lock: string;
    /** Absent while the volume's record is not known. */
    readonly fencing?: FencingReply;
  }[];
  /** Everything that is wrong now or soon will be, with locks, store, mounts and sentinel. */
  readonly conditions: readonly ConditionReply[];
}

export interface ConditionReply {
  /** `error`: locks can't be acquired or can't be trusted until the cause is repaired. */
  readonly severity: 'warning' | 'error';
  readonly message: string;
}

export interface StatusReply extends StatusReport {
  /** Absent while the daemon does not know all volumes. */
  readonly volumes?: number;
  readonly locks: { readonly held: number; readonly waiting: number };
}

/** Something that happened to a volume on this host. */
export interface EventReply {
  /** Counts events, one by one, over restarts of the daemon. */
  readonly number: number;
  /** RFC 3339, by the host's clock. */
  readonly time: string;
  readonly severity: 'info' | 'warning' | 'error';
  /** One word: docs/errors-and-events.md lists the kinds. */
  readonly kind: string;
  /** Empty for an event that concerns the host as a whole. */
  readonly volume: string;
  readonly message: string;
  /** The token of the lock that the event concerns. */
  readonly token?: number;
}

/** The events, oldest first. With `follow=true` the answer is one EventReply per line (NDJSON). */
export interface EventsReply {
  readonly events: readonly EventReply[];
}

/** A leftover of interrupted work on this host. */
export interface FindingReply {
  /** The kind of finding, such as `storage-without-record`; docs/doctor.md lists the kinds. */
  readonly kind: string;
  /** `VOLUME`, `VOLUME@SNAPSHOT` or a path. */
  readonly what: string;
  readonly message: string;
  /** RFC 3339. */
  readonly since?: string;
  /** The repair that `--fix` makes; absent if only a person can repair it. */
  readonly fix?: string;
  /** Commands that a person can use. */
  readonly next: readonly string[];
  /** `found`: no repair was requested. */
  readonly state: 'found' | 'fixed' | 'failed';
  /** The reason why the repair failed. */
  readonly error?: string;
}

export interface DoctorReply {
  readonly findings: readonly FindingReply[];
}

/** The answer to an operator who accepts the store as it is; false: it was not refused. */
export interface AcceptedReply {
  readonly accepted: boolean;
}

/** The cause of a failure. `refused`: a lock was not cleared. `internal`: a bug. */
export type FailureCode =
  | 'invalid'
  | 'not-found'
  | 'exists'
  | 'in-use'
  | 'contended'
  | 'timeout'
  | 'refused'
  | 'lost'
  | 'cancelled'
  | 'disabled'
  | 'not-still'
  | 'command-failed'
  | 'unsupported'
  | 'unavailable'
  | 'internal';

export interface Failure {
  readonly code: FailureCode;
  readonly message: string;
  /** The holders that block the request, if they are known. */
  readonly holders?: readonly HolderReply[];
}

export interface FailureReply {
  readonly error: Failure;
}

/** How far a copy is. */
export interface ProgressReply {
  readonly doneBytes: number;
  readonly totalBytes: number;
  /** Files and directories; absent from an older daemon. */
  readonly doneFiles?: number;
  readonly totalFiles?: number;
}

/** One line of the answer to long work that succeeds. `T` is the result of the work. */
export type LongWorkStep<T extends object = object> =
  | { readonly event: 'waiting'; readonly holders: readonly HolderReply[] }
  | { readonly event: 'held'; readonly token: number }
  | ({ readonly event: 'progress' } & ProgressReply)
  | ({ readonly event: 'done' } & T);

/** Any line of the answer to long work; `error` is always the last line. */
export type LongWorkEvent<T extends object = object> =
  | LongWorkStep<T>
  | ({ readonly event: 'error' } & Failure);
