import type { LockRequest, Mode } from '../ticket.ts';

/** What a volume's lock is taken for: the kind of its tickets, and the reason that people read. */
export const reasons = {
  create: 'Create',
  mount: 'Mount',
  remove: 'Remove',
  snapshot: 'Snapshot',
  snapshotPrune: 'SnapshotPrune',
  copy: 'Copy',
  maintenance: 'Maintenance',
} as const;

export type UseKind = keyof typeof reasons;

/** The two locks that each volume has: one for its content in use, one for its snapshots. */
export const facets = ['mount', 'snapshot'] as const;

export type Facet = (typeof facets)[number];

/** One use of a volume: which of its locks, what for, and whether others may share it. */
export interface UseLocker {
  readonly volume: string;
  readonly facet: Facet;
  readonly kind: UseKind;
  readonly mode: Mode;
}

/** The use of a volume's content. */
export function UseMount(volume: string, kind: UseKind, mode: Mode = 'exclusive'): UseLocker {
  return { volume, facet: 'mount', kind, mode };
}

/** The use of a volume's set of snapshots. */
export function UseSnapshot(volume: string, kind: UseKind, mode: Mode = 'exclusive'): UseLocker {
  return { volume, facet: 'snapshot', kind, mode };
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
