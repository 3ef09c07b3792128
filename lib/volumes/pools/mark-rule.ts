import type { PoolSight } from '../drivers/driver-pool.ts';
import type { PoolRecord } from './pool-record.ts';

/** The volumes of one driver by the store, and as this host sees them. */
export interface PoolSurvey {
  /** The names with a record. */
  readonly recorded: readonly string[];
  /** The names with storage here; `isEmpty` only if the storage is proved to hold nothing. */
  readonly stored: readonly { readonly name: string; readonly isEmpty: boolean }[];
}

export type PoolVerdict =
  | { readonly is: 'ours' }
  | { readonly is: 'read-only' }
  /** The mark is that of another cluster. */
  | { readonly is: 'foreign'; readonly mark: string }
  /** A mountpoint of /etc/fstab has nothing mounted. */
  | { readonly is: 'unmounted'; readonly mountpoint: string }
  /** There is no mark. */
  | { readonly is: 'unmarked' };

/** Decides what a pool is to this cluster. Pure. */
export function verdictOn(
  { mark, unmounted, isReadOnly }: PoolSight,
  cluster: string,
): PoolVerdict {
  if (mark === undefined) {
    return unmounted === undefined
      ? { is: 'unmarked' }
      : { is: 'unmounted', mountpoint: unmounted };
  }
  if (mark !== cluster) return { is: 'foreign', mark };
  return isReadOnly ? { is: 'read-only' } : { is: 'ours' };
}

/** Says which of the volumes of the store and those of the pool do not agree. */
export interface Disagreement {
  readonly missing: readonly string[];
  readonly unknown: readonly string[];
}

/**
 * Compares the records with the storage. Undefined: they agree, so the pool is the one of the records.
 * Storage that is proved empty counts as none: an interrupted Create leaves it.
 */
export function disagreement({ recorded, stored }: PoolSurvey): Disagreement | undefined {
  const here = new Set(stored.map(({ name }) => name));
  const known = new Set(recorded);
  const missing = recorded.filter((name) => !here.has(name)).sort();
  const unknown = stored.filter(({ name, isEmpty }) => !isEmpty && !known.has(name));
  if (missing.length + unknown.length === 0) return undefined;
  return { missing, unknown: unknown.map(({ name }) => name).sort() };
}

/**
 * Decides whether a host may mark a pool without a mark, if the volumes agree: the store has no record
 * of the driver's pool, or this host (`owner`) wrote it and a crash interrupted the marking. Pure.
 */
export function mayMark(record: PoolRecord | undefined, owner: string): boolean {
  return record === undefined || (record.state === 'marking' && record.owner === owner);
}
