/**
 * The file system, or other place, that holds all volumes of a driver. Its **mark** is the ID of the
 * cluster whose volumes it holds. A pool whose storage is not mounted shows no mark.
 */
export interface DriverPool {
  /** The place, for people: a path. */
  readonly place: string;
  /** The path at which a person can write the mark by hand: one line with the cluster's ID. */
  readonly markPath: string;
  /**
   * Reads the mark and whether the pool can be written. Changes nothing, and creates no directory.
   * Rejects with the system's error if that can't be known.
   */
  look(): Promise<PoolSight>;
  /**
   * Writes the mark, with the directories that lead to it. An existing mark stays, whatever it says.
   * It is on disk when this resolves; a crash leaves a whole mark or none.
   */
  mark(cluster: string): Promise<void>;
  /** Measures the pool's file system, or that of the nearest directory above a pool that is missing. */
  space(): Promise<PoolSpace>;
}

export interface PoolSpace {
  /** The bytes that volumes could have if nothing else were there, and those that are free. */
  readonly totalBytes: number;
  readonly freeBytes: number;
  /** The part of the inodes that is free, 0 to 1; 1 on a file system without a limit. */
  readonly freeFiles: number;
  /** Copies may share their blocks with the original. */
  readonly sharesBlocks: boolean;
  /** The pool lies on the root file system of this host. */
  readonly isOnRoot: boolean;
}

/** The state of a pool, as one host sees it. */
export interface PoolSight {
  /** The mark's text; undefined: there is no mark. */
  readonly mark: string | undefined;
  readonly isReadOnly: boolean;
  /** The mountpoint at or above a pool without a mark that should have a file system and has none. */
  readonly unmounted: string | undefined;
}
