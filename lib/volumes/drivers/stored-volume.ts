import { readdir } from 'node:fs/promises';
import { hasCode } from '../../linux/error-code.ts';

/**
 * Lists a driver's storage in this host's volume directory without regard to the records, to find
 * what interrupted work has left. Reads only, except `sweep`.
 */
export interface DriverStorage {
  /** Lists the names of all storage, valid volume names or not. */
  names(): Promise<string[]>;
  /** Describes the storage of one name; undefined: there is none. */
  find(name: string): Promise<StoredVolume | undefined>;
  /** Lists what interrupted work has left beside the volumes and no process works on any more. */
  leftovers(): Promise<Leftover[]>;
  /** Removes the leftovers; returns those that can't be removed, with the reason. */
  sweep(): Promise<readonly KeptLeftover[]>;
}

export interface StoredVolume {
  readonly name: string;
  /**
   * The options of a volume with such storage, as `parseOptions` returns them, as far as the storage tells
   * them, and without those that say how content begins (`inCopies: 'given'`).
   */
  readonly options: Readonly<Record<string, string>>;
  /** `missing`: the volume's directory has no content. `empty`: the content is proved empty. */
  readonly content: 'missing' | 'empty' | 'some';
  /** A restore was interrupted; the next operation, or `create`, completes it or rolls it back. */
  readonly isTorn: boolean;
  readonly snapshots: readonly string[];
  /** A copy made it, and it was never mounted since: all its content is somewhere else, too. */
  readonly isFreshCopy: boolean;
  /** The time of the directory's last change (RFC 3339). */
  readonly changedAt: string;
}

export interface Leftover {
  /** A path. */
  readonly what: string;
  /** RFC 3339. */
  readonly since?: string;
}

export interface KeptLeftover extends Leftover {
  readonly why: string;
}

/** Lists the names in a directory that are not hidden, sorted; none when it does not exist. */
export async function visibleNames(directory: string): Promise<string[]> {
  try {
    const names = await readdir(directory);
    return names.filter((name) => !name.startsWith('.')).sort();
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}
