import type { StoreMirror } from '../../lock/engine/store-mirror.ts';
import type { VolumeDriver } from '../drivers/driver.ts';
import { UnavailableError } from '../errors.ts';
import { isRecordKey, readRecord } from '../records/catalog.ts';
import { clusterKey, readClusterRecord } from '../records/cluster.ts';
import type { LostRecords } from '../records/lost-records.ts';
import type { LostRecord } from '../records/remembered-text.ts';
import { isRemovedKey, readRemoved } from '../records/removed-volumes.ts';
import { UnreadableRecordError } from '../stored-text.ts';

export interface LostClusterOptions {
  readonly lost: Pick<LostRecords, 'records'>;
  readonly mirror: Pick<StoreMirror, 'record'>;
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
}

/**
 * Returns the clusters that the lost records may belong to: the one that this host remembers or the store names,
 * else those whose marks the pools of lost volumes carry, as an earlier release did not remember the cluster.
 */
export async function clustersOf({ lost, mirror, drivers }: LostClusterOptions): Promise<string[]> {
  const known = clusterIn(lost.records.get(clusterKey) ?? mirror.record(clusterKey));
  if (known !== undefined) return [known];
  const used = new Set([...lost.records.values()].map(driverOf));
  return await markedClusters(
    [...drivers].flatMap(([name, driver]) => (used.has(name) ? [driver] : [])),
  );
}

/** Returns the only one of the clusters; undefined: none is known. Throws UnavailableError if there are several. */
export function onlyCluster(clusters: readonly string[]): string | undefined {
  if (clusters.length <= 1) return clusters[0];
  throw new UnavailableError(
    `the pools of this host have the marks of several clusters (${clusters.join(', ')}), and this host does not ` +
      'remember which one is its own: nothing is put back; unmount the pool of the other cluster, or move it away, ' +
      'then repeat: the volumes in it wait',
  );
}

/** Returns the ID in the record of a cluster; undefined: there is none that this release can read. */
export function clusterIn(
  stored: { readonly key: string; readonly value: string } | undefined,
): string | undefined {
  try {
    return stored && readClusterRecord(stored).id;
  } catch (error) {
    if (error instanceof UnreadableRecordError) return undefined;
    throw error;
  }
}

/** Returns the driver whose pool keeps what a record names; undefined: none, or this release can't read the record. */
function driverOf(record: LostRecord): string | undefined {
  try {
    if (isRecordKey(record.key)) return readRecord(record).record.driver;
    return isRemovedKey(record.key) ? readRemoved(record).driver : undefined;
  } catch (error) {
    if (error instanceof UnreadableRecordError) return undefined;
    throw error;
  }
}

/** A pool that can't be read, and one of this host alone, tell nothing. */
async function markedClusters(drivers: readonly VolumeDriver[]): Promise<string[]> {
  const shared = drivers.filter(({ capabilities }) => !capabilities.hostOnly);
  const looks = await Promise.allSettled(shared.map(({ pool }) => pool.look()));
  const marks = looks.map((look) => (look.status === 'fulfilled' ? look.value.mark : undefined));
  return [...new Set(marks.filter((mark) => mark !== undefined))];
}
