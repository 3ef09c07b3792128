/**
 * What the admin socket answers: JSON of these shapes under `/v1`. Long work answers with one
 * LongWorkEvent per line (NDJSON) when it has something to say before its end; what fails before
 * that is answered as a FailureReply with its HTTP status.
 */

/** Who holds a lock, or waits for it. */
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

/** A volume that nobody may start to use: who disabled it, and why. */
export interface GateReply {
  readonly volume: string;
  /** Which of its locks: both, unless whoever disabled it was interrupted. */
  readonly facets: readonly string[];
  readonly host: string;
  /** RFC 3339, by that host's clock. */
  readonly since: string;
  readonly why?: string;
}

/** Of all volumes, or of one. */
export interface LocksReply {
  /** In token order. */
  readonly tickets: readonly TicketReply[];
  /** One for each disabled volume. */
  readonly gates: readonly GateReply[];
}

export interface VolumeReply {
  readonly name: string;
  readonly driver: string;
  readonly access: string;
  readonly failover: string;
  readonly onLost: string;
  readonly options: Readonly<Record<string, string>>;
  readonly createdAt: string;
  readonly createdBy: string;
  readonly from?: string;
  /** Oldest first. */
  readonly snapshots: readonly SnapshotReply[];
  /** Of the volume's content; more than one when they share it. */
  readonly holders: readonly HolderReply[];
  readonly waiting: readonly HolderReply[];
  /** Present while it is disabled. */
  readonly gate?: GateReply;
  /** Where it is mounted on this host, and for which mount IDs. */
  readonly mounted?: { readonly mountpoint: string; readonly mountIds: readonly string[] };
}

export interface SnapshotReply {
  readonly name: string;
  readonly createdAt: string;
}

export interface VolumeDetailReply extends VolumeReply {
  readonly usage?: { readonly usedBytes: number; readonly sizeBytes?: number };
  /** Why there is no usage. */
  readonly usageError?: string;
}

/** What the daemon says of itself. */
export interface StatusReport {
  readonly host: string;
  readonly store: { readonly kind: string; readonly reachable: boolean };
  /** What is mounted on this host, and whether it can prove that the volume is its own. */
  readonly mounts: readonly {
    readonly volume: string;
    readonly mountpoint: string;
    readonly lock: string;
  }[];
  /** What is wrong with the locks or their store, or soon will be; empty when nothing is. */
  readonly conditions: readonly ConditionReply[];
}

export interface ConditionReply {
  /** `error`: until it is mended, locks can't be taken or can't be trusted. */
  readonly severity: 'warning' | 'error';
  readonly message: string;
}

export interface StatusReply extends StatusReport {
  /** Absent while they can't be known. */
  readonly volumes?: number;
  readonly locks: { readonly held: number; readonly waiting: number };
}

/** Something that happened to a volume on this host. */
export interface EventReply {
  /** One more than that of the event before; goes on after a restart of the daemon. */
  readonly number: number;
  /** RFC 3339, by the host's clock. */
  readonly time: string;
  readonly severity: 'info' | 'warning' | 'error';
  /** What happened, one word. */
  readonly kind: string;
  readonly volume: string;
  readonly message: string;
  /** Of the lock that it concerns. */
  readonly token?: number;
}

/** Oldest first. Who follows is sent the events alone, one per line (NDJSON). */
export interface EventsReply {
  readonly events: readonly EventReply[];
}

/** Something that interrupted work has left on this host. */
export interface FindingReply {
  /** What does not fit together, such as `storage-without-record`. */
  readonly kind: string;
  /** `VOLUME`, `VOLUME@SNAPSHOT` or a path. */
  readonly what: string;
  readonly message: string;
  /** RFC 3339. */
  readonly since?: string;
  /** What fixing does; absent: it takes a person. */
  readonly fix?: string;
  /** What a person can do about it. */
  readonly next: readonly string[];
  /** `found`: it was not to be fixed. */
  readonly state: 'found' | 'fixed' | 'failed';
  /** Why fixing it failed. */
  readonly error?: string;
}

export interface DoctorReply {
  readonly findings: readonly FindingReply[];
}

/** Why something failed. `refused`: a lock was not cleared. `internal`: a bug. */
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
  /** Who is in the way, when it is known. */
  readonly holders?: readonly HolderReply[];
}

export interface FailureReply {
  readonly error: Failure;
}

/** One line of the answer to long work that goes well. `T` is what the work results in. */
export type LongWorkStep<T extends object = object> =
  | { readonly event: 'waiting'; readonly holders: readonly HolderReply[] }
  | { readonly event: 'held'; readonly token: number }
  | { readonly event: 'progress'; readonly doneBytes: number; readonly totalBytes: number }
  | ({ readonly event: 'done' } & T);

/** Any line; an `error` is the last one. */
export type LongWorkEvent<T extends object = object> =
  | LongWorkStep<T>
  | ({ readonly event: 'error' } & Failure);
