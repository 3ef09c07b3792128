import type { Condition } from '../../lock/condition.ts';
import type { StoreMirror } from '../../lock/engine/store-mirror.ts';
import type { StoredRecord } from '../../lock/stores/ticket-store.ts';
import { isEvictionKey, readEviction } from '../mounts/evictions.ts';
import { parsePoolRecord } from '../pools/pool-record.ts';
import { isPromiseKey, readPromise } from '../pools/promises.ts';
import type { Catalog } from '../records/catalog.ts';
import { parseClaim } from '../records/claims.ts';
import { clusterKey, readClusterRecord } from '../records/cluster.ts';
import { isLastUseKey, readLastUse } from '../records/last-uses.ts';
import { isPoolKey } from '../records/pool-key.ts';
import { isRemovedKey, readRemoved } from '../records/removed-volumes.ts';
import { isRestoredKey, readRestored } from '../records/restored-records.ts';
import { UnreadableRecordError } from '../stored-text.ts';
import type { Finding } from './finding.ts';

/** The places where records are looked for. */
export interface RecordSources {
  readonly mirror: Pick<StoreMirror, 'records'>;
  readonly catalog: Pick<Catalog, 'unreadable'>;
}

/**
 * Lists the records that this release can't use, of every kind, as the mirror has them. They concern the volumes
 * and drivers that they name, and nothing else.
 */
export function unreadableRecords({ mirror, catalog }: RecordSources): UnreadableRecordError[] {
  const others = [...mirror.records()].flatMap((stored) => faultOf(stored) ?? []);
  return [...catalog.unreadable().map(({ error }) => error), ...others];
}

/** At most so many are named in the conditions: the doctor lists all. */
const shownAtMost = 5;

/** Returns a condition for each of them. */
export function unreadableConditions(sources: RecordSources): Condition[] {
  const all = unreadableRecords(sources);
  const conditions = all.slice(0, shownAtMost).map(({ key, why }): Condition => {
    const message = `the record records/${key} in the store can't be used (${why}); see: berth doctor`;
    return { severity: 'warning', message };
  });
  const more = all.length - shownAtMost;
  if (more <= 0) return conditions;
  const message = `the store has ${more} more record(s) that can't be used; see: berth doctor`;
  return [...conditions, { severity: 'warning', message }];
}

/** Describes such a record for the doctor. */
export function unreadableFinding({ key, isNewer, why }: UnreadableRecordError): Finding {
  return {
    kind: 'unreadable-record',
    what: `records/${key}`,
    message: `is a record that this release of berth can't use: ${why}`,
    next: isNewer
      ? ['use the release that wrote it on this host, too']
      : [
          'find out who wrote it: only berth should be able to write below its prefix in the store',
          "put its former value back, from a backup of the store, or remove the store's key",
        ],
  };
}

/** Returns the fault of a record, unless it is of a volume: the catalog has those. */
function faultOf(stored: StoredRecord): UnreadableRecordError | undefined {
  try {
    if (stored.key === clusterKey) readClusterRecord(stored);
    else if (isPoolKey(stored.key)) parsePoolRecord(stored);
    else if (isPromiseKey(stored.key)) readPromise(stored);
    else if (isEvictionKey(stored.key)) readEviction(stored);
    else if (isRemovedKey(stored.key)) readRemoved(stored);
    else if (isLastUseKey(stored.key)) readLastUse(stored);
    else if (isRestoredKey(stored.key)) readRestored(stored);
    else return parseClaim(stored)?.unreadable;
    return undefined;
  } catch (error) {
    if (error instanceof UnreadableRecordError) return error;
    throw error;
  }
}
