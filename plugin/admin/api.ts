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

export interface VolumeReply {
  readonly name: string;
  readonly driver: string;
  readonly access: string;
  readonly failover: string;
  readonly onLost: string;
  readonly fencing: FencingReply;
  readonly options: Readonly<Record<string, string>>;
  readonly createdAt: string;
  readonly createdBy: string;
  readonly from?: string;
  /** Oldest first. */
  readonly snapshots: readonly SnapshotReply[];
  /** The holders of the volume's content; several if they share it. */
  readonly holders: readonly HolderReply[];
  readonly waiting: readonly HolderReply[];
  /** Present while the volume is disabled. */
  readonly gate?: GateReply;
  /** The mount on this host, with its mount IDs. */
  readonly mounted?: { readonly mountpoint: string; readonly mountIds: readonly string[] };
}

export interface SnapshotReply {
  readonly name: string;
  readonly createdAt: string;
}

export interface VolumeDetailReply extends VolumeReply {
  readonly usage?: { readonly usedBytes: number; readonly sizeBytes?: number };
  /** The reason why there is no usage. */
  readonly usageError?: string;
}

/** The state of the daemon. */
export interface StatusReport {
  readonly host: string;
  readonly store: { readonly kind: string; readonly reachable: boolean };
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

/** One line of the answer to long work that succeeds. `T` is the result of the work. */
export type LongWorkStep<T extends object = object> =
  | { readonly event: 'waiting'; readonly holders: readonly HolderReply[] }
  | { readonly event: 'held'; readonly token: number }
  | { readonly event: 'progress'; readonly doneBytes: number; readonly totalBytes: number }
  | ({ readonly event: 'done' } & T);

/** Any line of the answer to long work; `error` is always the last line. */
export type LongWorkEvent<T extends object = object> =
  | LongWorkStep<T>
  | ({ readonly event: 'error' } & Failure);
