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

/** The Mounts of a volume that other hosts have not ended, although their locks are gone; oldest first. */
export interface UncleanEndsReply {
  readonly uncleanEnds: readonly GoneReply['gone'][];
}
