import type { LockRequest, Mode } from '../ticket.ts';

/** Why a volume's lock is taken. */
export const reasons = [
  'Create',
  'Mount',
  'Remove',
  'Snapshot',
  'SnapshotPrune',
  'Copy',
  'Maintenance',
] as const;

export type Reason = (typeof reasons)[number];

/** The two locks that each volume has: one for its content in use, one for its snapshots. */
export const facets = ['mount', 'snapshot'] as const;

export type Facet = (typeof facets)[number];

/** One use of a volume: which of its locks, why, and whether others may share it. */
export interface UseLocker {
  readonly volume: string;
  readonly facet: Facet;
  readonly reason: Reason;
  readonly mode: Mode;
}

/** The use of a volume's content. */
export function UseMount(volume: string, reason: Reason, mode: Mode = 'exclusive'): UseLocker {
  return { volume, facet: 'mount', reason, mode };
}

/** The use of a volume's set of snapshots. */
export function UseSnapshot(volume: string, reason: Reason, mode: Mode = 'exclusive'): UseLocker {
  return { volume, facet: 'snapshot', reason, mode };
}

/** The lock that a use takes: `mount/db`. */
export function lockRequest(use: UseLocker): LockRequest {
  return { name: lockName(use.facet, use.volume), mode: use.mode };
}

export function lockName(facet: Facet, volume: string): string {
  return `${facet}/${volume}`;
}

/** The reverse of `lockName`; undefined for a lock that is not a volume's. */
export function parseLockName(name: string): { facet: Facet; volume: string } | undefined {
  const slash = name.indexOf('/');
  const facet = facets.find((known) => known === name.slice(0, slash));
  return facet && { facet, volume: name.slice(slash + 1) };
}
