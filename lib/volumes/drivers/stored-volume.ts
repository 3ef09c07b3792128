import { readdir } from 'node:fs/promises';
import { hasCode } from '../../linux/error-code.ts';

/**
 * What a driver has on this host's volume directory, whatever the records say: for finding what
 * interrupted work has left. Reads only, except `sweep`.
 */
export interface DriverStorage {
  /** The names under which there is storage. */
  names(): Promise<string[]>;
  /** What is stored under a name; undefined: nothing. */
  find(name: string): Promise<StoredVolume | undefined>;
  /** What interrupted work has left beside the volumes, and nobody works on any more. */
  leftovers(): Promise<Leftover[]>;
  /** Removes the leftovers, as far as that is possible. */
  sweep(): Promise<void>;
}

export interface StoredVolume {
  readonly name: string;
  /** The options of a volume that has such storage, as `parseOptions` gives them. */
  readonly options: Readonly<Record<string, string>>;
  /** `missing`: there is a place for it, but no content. `empty`: it certainly holds nothing. */
  readonly content: 'missing' | 'empty' | 'some';
  /** A restore was interrupted; the next operation, or `create`, ends it or takes it back. */
  readonly isTorn: boolean;
  readonly snapshots: readonly string[];
  /** When its place was last changed; RFC 3339. */
  readonly changedAt: string;
}

export interface Leftover {
  /** A path. */
  readonly what: string;
  /** RFC 3339. */
  readonly since?: string;
}

/** The names in a directory that are not hidden, sorted; none when it is not there. */
export async function visibleNames(directory: string): Promise<string[]> {
  try {
    const names = await readdir(directory);
    return names.filter((name) => !name.startsWith('.')).sort();
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}
