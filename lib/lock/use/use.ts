import type { LockRequest, PlainLockRequest } from '../ticket.ts';

/**
 * The locks of volumes. Each operation on a volume is a **use** of one or two of its locks; a use's
 * kind goes onto the ticket for programs, and its reason into the holder for people.
 *
 *     UseMount('db', 'mount') ─ lockRequest ─► mount/db, exclusive ─ LockDriver ─► LockManager.lock
 *
 * `KeptLock` is a use's lock that survives a lapse of the session and a restart (a mount's).
 */

/** The kinds of use, with the reason that people read. */
export const reasons = {
  create: 'Create',
  mount: 'Mount',
  remove: 'Remove',
  snapshot: 'Snapshot',
  snapshotPrune: 'SnapshotPrune',
  copy: 'Copy',
  set: 'Set',
  rename: 'Rename',
  maintenance: 'Maintenance',
} as const;

export type UseKind = keyof typeof reasons;

/** The two locks of each volume: one for its content, one for its set of snapshots. */
export const facets = ['mount', 'snapshot'] as const;

/** A volume has no permits: those who share it need no limit. */
export type UseMode = PlainLockRequest['mode'];

export type Facet = (typeof facets)[number];

/** One use of a volume: the lock, the purpose, and whether others may share the lock. */
export interface UseLocker {
  readonly volume: string;
  readonly facet: Facet;
  readonly kind: UseKind;
  readonly mode: UseMode;
}

/** Returns the use of a volume's content. */
export function UseMount(volume: string, kind: UseKind, mode: UseMode = 'exclusive'): UseLocker {
  return { volume, facet: 'mount', kind, mode };
}

/** Returns the use of a volume's set of snapshots. */
export function UseSnapshot(volume: string, kind: UseKind, mode: UseMode = 'exclusive'): UseLocker {
  return { volume, facet: 'snapshot', kind, mode };
}

/** Returns the lock that a use takes: `mount/db`. */
export function lockRequest(use: UseLocker): LockRequest {
  return { name: lockName(use.facet, use.volume), mode: use.mode };
}

export function lockName(facet: Facet, volume: string): string {
  return `${facet}/${volume}`;
}

/** Parses the result of `lockName`; undefined for a lock that is not a volume's. */
export function parseLockName(name: string): { facet: Facet; volume: string } | undefined {
  const slash = name.indexOf('/');
  const facet = facets.find((known) => known === name.slice(0, slash));
  return facet && { facet, volume: name.slice(slash + 1) };
}
