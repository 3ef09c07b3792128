import type { PauseSight } from './machine.ts';
import type { StateFate } from './sentinel-host.ts';

export const hostNames = ['n1', 'n2', 'n3'] as const;

/** The volumes: with a file system of their own, or a directory of storage that hosts share. */
export const volumes = {
  disk: { isOwn: true, onLost: 'pause' },
  share: { isOwn: false, onLost: 'pause' },
  logs: { isOwn: false, onLost: 'stop' },
} as const;

export type VolumeName = keyof typeof volumes;
export const volumeNames = ['disk', 'share', 'logs'] as const satisfies readonly VolumeName[];

interface OnHost {
  readonly atMs: number;
  readonly host: number;
}

/** Somebody starts containers; the host gets the volumes first, if it can. */
export interface RunCommand extends OnHost {
  readonly kind: 'run';
  readonly volumes: readonly VolumeName[];
  /** The number of processes of each. */
  readonly tasks: number;
  /** The number of containers. */
  readonly count: number;
}

/** Something else begins to use a volume that the host has mounted, for `ms`. */
export interface UseCommand extends OnHost {
  readonly kind: 'use';
  /** `sidecar`: a running container gets at the files of another one that uses the volume. */
  readonly by: 'engine' | 'host' | 'sidecar';
  readonly volume: VolumeName;
  readonly ms: number;
}

/** A person tells an engine to do something with a container. */
export interface PersonCommand extends OnHost {
  readonly kind: 'person';
  readonly does: 'pause' | 'unpause' | 'stop' | 'kill' | 'restart' | 'exec';
  /** Chooses one of the host's containers. */
  readonly container: number;
}

/** An operator clears the lock of a live host. */
export interface EvictCommand extends OnHost {
  readonly kind: 'evict';
  readonly volume: VolumeName;
}

/** Somebody copies a volume in use: its users stand still for `ms` at most. */
export interface CopyCommand extends OnHost {
  readonly kind: 'copy';
  readonly volume: Exclude<VolumeName, 'disk'>;
  readonly ms: number;
}

/** A fault that ends by itself after `ms`. */
export interface FaultCommand extends OnHost {
  readonly kind:
    | 'cut off'
    | 'freeze daemon'
    | 'kill daemon'
    | 'lose table'
    | 'crowd'
    | 'freeze sentinel'
    | 'hang engine'
    | 'slow scan'
    | 'blind scan';
  readonly ms: number;
}

export interface KillSentinelCommand extends OnHost {
  readonly kind: 'kill sentinel';
  readonly state: StateFate;
  /** How many calls later. */
  readonly steps: number;
}

/** A disk becomes slow, hangs, or a process waits for something that hangs, for `ms`. */
export interface StorageCommand extends OnHost {
  readonly kind: 'slow disk' | 'hung storage' | 'sleep';
  readonly volume: VolumeName;
  readonly ms: number;
}

/** The whole machine stands still. */
export interface PauseCommand extends OnHost {
  readonly kind: 'pause machine';
  readonly sight: PauseSight;
  readonly ms: number;
}

/** Somebody, or NTP, sets the time of day. */
export interface JumpCommand extends OnHost {
  readonly kind: 'set time of day';
  readonly byMs: number;
}

export type Command =
  | RunCommand
  | UseCommand
  | PersonCommand
  | EvictCommand
  | CopyCommand
  | FaultCommand
  | KillSentinelCommand
  | StorageCommand
  | PauseCommand
  | JumpCommand;

export interface Scenario {
  /** The seed of everything that the commands leave open: delays, clocks. */
  readonly seed: number;
  readonly ttlMs: number;
  readonly fenceHostProcesses: boolean;
  readonly commands: readonly Command[];
}
