import type { LockRequest } from '../../../lib/lock/ticket.ts';

/** Somebody takes locks on a host, and what becomes of it when the lock is granted. */
export interface LockCommand {
  readonly kind: 'lock';
  readonly atMs: number;
  readonly host: number;
  readonly locks: readonly LockRequest[];
  /** 0: one try. Undefined: waits for ever. */
  readonly timeoutMs?: number | undefined;
  readonly cancelAfterMs?: number | undefined;
  /** Infinity, which a scenario in print has as null: it outlives its host. */
  readonly ttlMs?: number | undefined;
  readonly maxHoldMs?: number | undefined;
  readonly holdMs: number;
  /** Guarded writes made while it is held. */
  readonly writes: number;
  /** `commit`: the last write unlocks. `kept`: through lapses of the session. */
  readonly ending: 'unlock' | 'unlock twice' | 'commit' | 'kept';
  /** The holder listens to the signal; else it only asks, now and then. */
  readonly listens: boolean;
}

/** What happens to a host or its connection, for `ms` where it passes. */
export interface FaultCommand {
  readonly kind:
    | 'pause'
    | 'rough'
    | 'cut'
    /** Replies are slow for a while, then nothing gets through for as long. */
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

/** What an operator does, on a host. */
export interface OperatorCommand {
  readonly kind: 'disable' | 'break lock';
  readonly atMs: number;
  readonly host: number;
  readonly lockName: string;
  /** How long the gate stays closed, or which ticket in the queue is broken. */
  readonly ms: number;
}

export interface StoreCommand {
  readonly kind: 'pause store';
  readonly atMs: number;
  readonly ms: number;
}

/** What happens on one host. */
export type HostCommand = LockCommand | FaultCommand | OperatorCommand;

export type Command = HostCommand | StoreCommand;

export const hostCount = 3;
export const lockNames = ['a', 'b', 'c'] as const;
export const mainTtlMs = 3_000;
export const otherTtlMs = 2_000;
