import type { LockRequest } from '../../../lib/lock/ticket.ts';

/** A request for locks on a host, and what its holder does after the grant. */
export interface LockCommand {
  readonly kind: 'lock';
  readonly atMs: number;
  readonly host: number;
  readonly locks: readonly LockRequest[];
  /** Zero: one try. Undefined: no limit. */
  readonly timeoutMs?: number | undefined;
  readonly cancelAfterMs?: number | undefined;
  /** The TTL; Infinity (null in a printed scenario) makes a lock that outlives its host. */
  readonly ttlMs?: number | undefined;
  readonly maxHoldMs?: number | undefined;
  readonly holdMs: number;
  /** The number of guarded writes during the hold. */
  readonly writes: number;
  /**
   * How the hold ends. `commit`: the last write unlocks. `kept`: it outlives session lapses. `forget`: a
   * holder that has lost the lock just stops, and does not unlock it.
   */
  readonly ending: 'unlock' | 'unlock twice' | 'commit' | 'kept' | 'forget';
  /** True when the holder listens to the signal; otherwise it checks now and then. */
  readonly listens: boolean;
}

/** A fault of a host or its connection, for `ms` where it ends by itself. */
export interface FaultCommand {
  readonly kind:
    | 'pause'
    | 'rough'
    | 'cut'
    /** Replies are slow for the first half, then nothing gets through. */
    | 'deaf, then cut'
    | 'break watch'
    | 'crash'
    | 'crash and resume'
    /** An orderly restart that leaves its locks to the next daemon. */
    | 'restart';
  readonly atMs: number;
  readonly host: number;
  readonly ms: number;
}

/**
 * The daemon is frozen for `ms`, more than a TTL, and meanwhile another host begins with a copy of its disk.
 * From then on the first one is not killed.
 */
export interface CloneCommand {
  readonly kind: 'clone';
  readonly atMs: number;
  readonly host: number;
  readonly ms: number;
}

/** An operator's command, given on a host. */
export interface OperatorCommand {
  readonly kind: 'disable' | 'break lock';
  readonly atMs: number;
  readonly host: number;
  readonly lockName: string;
  /** How long the gate stays closed, or the index of the ticket to break. */
  readonly ms: number;
}

export interface StoreCommand {
  readonly kind: 'pause store';
  readonly atMs: number;
  readonly ms: number;
}

/** The store gets an earlier state, and its servers start again. */
export interface PutBackCommand {
  readonly kind: 'put back';
  readonly atMs: number;
  /** How old the state is. */
  readonly ageMs: number;
  /**
   * `restored`: the servers show that they are others than before. `bumped`: and the revision is above all
   * that was lost. `copied`: they show nothing, and only the revision is lower.
   */
  readonly how: 'restored' | 'bumped' | 'copied';
}

/** A command that concerns one host. */
export type HostCommand = LockCommand | FaultCommand | OperatorCommand | CloneCommand;

export type Command = HostCommand | StoreCommand | PutBackCommand;

export const hostCount = 3;
export const lockNames = ['a', 'b', 'c'] as const;
export const mainTtlMs = 3_000;
export const otherTtlMs = 2_000;
