import type { HistoryRecord, RememberedHistory, Verdict } from '../history-record.ts';
import { judgeHistory } from '../history-record.ts';

/** One look at etcd. */
export interface EtcdSeen {
  readonly cluster: string;
  readonly revision: number;
  /** The highest revision that was seen before this look. */
  readonly floor: number;
  /** An upper limit of the entries of the log that made no revision; undefined: etcd does not tell. */
  readonly spare: number | undefined;
}

/** Decides what a look at etcd means. */
export function judgeEtcd(
  stored: HistoryRecord | undefined,
  known: RememberedHistory | undefined,
  seen: EtcdSeen,
): Verdict {
  return judgeHistory(stored, known, { ...seen, why: stored && whyOther(stored, seen) }, 'etcd');
}

/** Returns why etcd is not the one that the record was written in. */
function whyOther({ cluster, spare }: HistoryRecord, seen: EtcdSeen): string | undefined {
  if (cluster !== seen.cluster) {
    return `etcd was restored from a snapshot, or another cluster answers (its cluster ID was ${cluster} and is ${seen.cluster})`;
  }
  if (spare !== undefined && seen.spare !== undefined && seen.spare < spare) {
    return 'etcd was restored from a snapshot (its log is shorter than its revisions)';
  }
  return undefined;
}
