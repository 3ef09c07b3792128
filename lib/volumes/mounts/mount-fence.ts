import type { MountStates, Ownership } from './mount-state.ts';
import type { MountRow, MountTable } from './mount-table.ts';

/** A volume mounted on this host, as its fence sees it. */
export interface FencedMount {
  readonly row: MountRow;
  /** True if the mount is older than this process. */
  readonly isAdopted: boolean;
  /** Reads the ownership at the moment of the call: the state of a lock changes by itself. */
  readonly ownership: () => Ownership;
}

/**
 * Keeps the containers of this host from writing to volumes that it may have lost to another, also
 * while this process is dead or hangs. Each call gives all mounts of this host; the fence keeps the
 * last ones given. With `only`, no other volume's mount has been added, has ended or has changed since
 * the call before, so that the work of a call need not grow with the mounts.
 */
export interface MountFence {
  /**
   * Resolves when the sentinel has these mounts; nobody may be given a new mountpoint before.
   * Rejects UnavailableError when the sentinel can't be reached.
   */
  watch(mounts: readonly FencedMount[], only?: string): Promise<void>;

  /** Does the same in the background, and repeats it until it succeeds. */
  changed(mounts: readonly FencedMount[], only?: string): void;

  /**
   * Ends all containers that use one of these volumes, whose lock is lost; nothing of this host
   * writes to it when this resolves. Idempotent. Rejects when they do not end in time.
   */
  end(volume: string, mounts: readonly FencedMount[]): Promise<void>;
}

/** All volumes mounted on this host, for the fence. */
export function fencedMounts(table: MountTable, states: MountStates): FencedMount[] {
  return table.rows().map((row) => ({
    row,
    isAdopted: states.isAdopted(row.volume),
    ownership: () => states.ownership(row.volume),
  }));
}
