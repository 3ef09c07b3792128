import { z } from 'zod';

/** The record of the store's present history, in the store itself. */
export const historySchema = z.looseObject({
  /** Random. */
  id: z.string().min(1),
  /** The time at which this history began, by the clock of the host that noticed it (RFC 3339). */
  since: z.string(),
  /** The name of that host, for people; absent in the first history. */
  by: z.string().optional(),
  /** Why this history began, for people; absent in the first one. */
  why: z.string().optional(),
  /** The identity of the servers: etcd's cluster ID; PostgreSQL's system identifier and timeline. */
  cluster: z.string(),
  /**
   * On etcd: at least how many entries of its log, at that time, had made no revision. The number never gets
   * smaller within one history, because an entry makes one revision at most. A restored cluster starts
   * with an empty log and all its revisions, so the number is far smaller there, whatever
   * `--bump-revision` and the cluster's token were.
   */
  spare: z.number().optional(),
  /** The histories before this one, latest last. */
  past: z.array(z.string()),
  /** The longest TTL of a session in this history: the length of the quarantine after it. */
  ttlMs: z.number(),
});

export type HistoryRecord = z.infer<typeof historySchema>;

/** The history that this host took part in last. */
export interface RememberedHistory {
  readonly id: string;
  /** The identity of the servers. */
  readonly cluster: string;
  /** The highest revision that this host has seen in it. */
  readonly revision: number;
  readonly ttlMs: number;
}

/** One look at a store. */
export interface Seen {
  readonly revision: number;
  /** The highest revision that was seen before this look. */
  readonly floor: number;
  /** Why the store is not the one in which its record was written; undefined: it is. */
  readonly why: string | undefined;
}

/**
 * - `same`: nothing has changed.
 * - `first`: the store has no history yet, and this host knows of none.
 * - `joined`: this host knows of no history; it takes part in the store's.
 * - `followed`: another host has noticed the change before; this host only follows.
 * - `other`: the store's record belongs to a past that is gone: this host must record the change.
 */
export type Verdict =
  | { readonly is: 'same' | 'first' | 'joined' }
  | { readonly is: 'followed' | 'other'; readonly why: string };

/**
 * Decides what a look at a store means, from the store's record and from what this host remembers.
 * `store`: its name, for people.
 */
export function judgeHistory(
  stored: HistoryRecord | undefined,
  known: RememberedHistory | undefined,
  { revision, floor, why }: Seen,
  store: string,
): Verdict {
  if (!stored) {
    return known
      ? { is: 'other', why: `${store} was wiped, or what berth keeps there was deleted` }
      : { is: 'first' };
  }
  if (why !== undefined) return { is: 'other', why };
  if (!known) return { is: 'joined' };
  if (stored.id === known.id) {
    if (revision >= floor) return { is: 'same' };
    const fell = `its revision was ${floor} and is ${revision}`;
    return { is: 'other', why: `${store} was put back to an older state of its data (${fell})` };
  }
  if (stored.past.includes(known.id)) {
    return { is: 'followed', why: stored.why ?? `${store} has another history than before` };
  }
  return {
    is: 'other',
    why: `${store} was put back to a state that is older than its last restore`,
  };
}

/** The number of earlier histories that a record names. */
const keptPast = 50;

/** Returns the earlier histories of the one that follows `stored` and `known`. */
export function pastOf(
  stored: HistoryRecord | undefined,
  known: RememberedHistory | undefined,
): string[] {
  const ids = [
    ...(stored?.past ?? []),
    ...(stored ? [stored.id] : []),
    ...(known ? [known.id] : []),
  ];
  return [...new Set(ids)].slice(-keptPast);
}
