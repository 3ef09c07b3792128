import type { TrashEntry } from '../trash-entry.ts';
import type { DriverContext, DriverVolume } from './driver-call.ts';

/**
 * The removed volumes that a driver keeps for a while. What enters or leaves the trash is renamed on its file
 * system and never copied, with the snapshots and all else that belongs to it.
 *
 *     NAME ──put──► NAME@ID in the trash ──takeOut──► NAME, or another name
 *                                        └─discard──► deleted
 *
 * The caller has the locks of the names, and of the entry.
 */
export interface DriverTrash {
  /**
   * Moves the storage of a volume that is not mounted to the trash, and returns its identity. Returns the
   * identity also if an earlier attempt has moved it; undefined if there is no storage. Moves nothing if the
   * store says, after the storage has lost its name, that the lock is lost: it gets its name again. When this
   * resolves, a power cut can't undo it. Rejects ENOSPC if the pool has no room for one more name.
   */
  put(volume: DriverVolume, id: string, context: DriverContext): Promise<string | undefined>;

  /**
   * Gives an entry the name of `volume`, which keeps the rest of its storage. Resolves also if an earlier
   * attempt has done it. Rejects ExistsError if other storage has that name, and NotFoundError if the entry
   * is gone; nothing is changed then. If the store says afterwards that the lock is lost, the entry returns
   * to the trash.
   */
  takeOut(entry: KeptEntry, volume: DriverVolume, context: DriverContext): Promise<void>;

  /** Deletes an entry. Resolves also if it is gone. Undone as `VolumeDriver.remove` if the lock is lost. */
  discard(entry: TrashEntry, context: DriverContext): Promise<void>;

  /** Lists all entries, by volume and ID. Reads only. */
  entries(): Promise<readonly StoredEntry[]>;

  /** Returns the identity of the storage that has a volume's name; undefined: there is none. Reads only. */
  identityOf(name: string): Promise<string | undefined>;

  /** Measures the bytes that an entry occupies in the pool; 0 if it is gone. */
  bytes(entry: TrashEntry): Promise<number>;
}

export interface KeptEntry extends TrashEntry {
  /** The identity of the storage. It stays the same under any name, as an inode number does. */
  readonly identity: string;
}

export interface StoredEntry extends KeptEntry {
  /** The time of the last change of its name (RFC 3339). */
  readonly since: string;
}
