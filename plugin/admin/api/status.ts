import type { FencingReply } from './volumes.ts';

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

export interface ConditionReply {
  /** `error`: locks can't be acquired or can't be trusted until the cause is repaired. */
  readonly severity: 'warning' | 'error';
  readonly message: string;
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
