import type { VolumeDriver } from '../drivers/driver.ts';
import type { StoredVolume } from '../drivers/stored-volume.ts';
import type { PoolTrouble } from '../pools/pool-conditions.ts';
import { poolAdvice, poolFault } from '../pools/pool-conditions.ts';
import type { VolumeRecord } from '../volume.ts';
import { formatSource } from '../volume.ts';
import type { Finding } from './finding.ts';

/** Lists the mismatches between a volume's record and its storage. */
export function findings(
  driver: VolumeDriver,
  name: string,
  record: VolumeRecord | undefined,
  stored: StoredVolume | undefined,
  pluginName: string,
): Finding[] {
  if (isBeingRenamed(record)) return [];
  if (!record) return stored ? [storageWithoutRecord(driver, stored, pluginName)] : [];
  if (!stored || (stored.content === 'missing' && !stored.isTorn)) {
    return [recordWithoutStorage(record)];
  }
  const known = new Set(record.snapshots.map((snapshot) => snapshot.name));
  const there = new Set(stored.snapshots);
  return [
    ...(stored.isTorn ? [interruptedRestore(name)] : []),
    ...record.snapshots
      .filter((snapshot) => !there.has(snapshot.name))
      .map((snapshot) => snapshotWithoutStorage(name, snapshot)),
    ...stored.snapshots
      .filter((snapshot) => !known.has(snapshot))
      .map((snapshot) => snapshotWithoutRecord(formatSource({ volume: name, snapshot }))),
  ];
}

/** Returns true for a volume whose rename has begun, and for the name that it gets: `renames.ts` finds these. */
export function isBeingRenamed(record: VolumeRecord | undefined): boolean {
  return record?.renamingTo !== undefined || record?.renamingFrom !== undefined;
}

export function poolAway(trouble: PoolTrouble): Finding {
  return {
    kind: 'pool-away',
    what: `driver ${trouble.driver}`,
    message: `has no pool that can be used: ${poolFault(trouble)}`,
    next: poolAdvice(trouble),
  };
}

function recordWithoutStorage({ name, createdAt, createdBy, snapshots }: VolumeRecord): Finding {
  return {
    kind: 'record-without-storage',
    what: name,
    message: `has a record (made by host ${createdBy}), but its storage is not here`,
    since: createdAt,
    next: [
      'if the file system of the volumes is not mounted, or not shared with that host, mount it',
      `else drop the record: ${[
        ...snapshots.map((snapshot) => `berth snapshot rm ${name}@${snapshot.name}`),
        `docker volume rm ${name}`,
      ].join('; ')}`,
    ],
  };
}

function storageWithoutRecord(
  driver: VolumeDriver,
  { name, options, content, snapshots, changedAt }: StoredVolume,
  pluginName: string,
): Finding {
  const isEmpty = content !== 'some' && snapshots.length === 0;
  const given = Object.entries({ driver: driver.name, ...options });
  const flags = given.map(([key, value]) => `-o ${key}=${value}`).join(' ');
  return {
    kind: 'storage-without-record',
    what: name,
    message: `has storage of driver ${driver.name}, ${isEmpty ? 'empty' : 'with content'}, but no record`,
    since: changedAt,
    ...(isEmpty && { fix: 'removes it' }),
    next: isEmpty
      ? []
      : [
          `keep it: docker volume create -d ${pluginName} ${flags} -o adopt=yes ${name}`,
          `delete it: berth doctor --fix --delete ${name}`,
        ],
  };
}

function interruptedRestore(name: string): Finding {
  return {
    kind: 'interrupted-restore',
    what: name,
    message: 'a restore of it was interrupted',
    fix: 'completes the restore, or rolls it back',
    next: [],
  };
}

function snapshotWithoutStorage(
  volume: string,
  { name, createdAt }: VolumeRecord['snapshots'][number],
): Finding {
  return {
    kind: 'snapshot-without-storage',
    what: formatSource({ volume, snapshot: name }),
    message: 'is in the record of its volume, but its storage is gone',
    since: createdAt,
    fix: 'drops it from the record',
    next: [],
  };
}

function snapshotWithoutRecord(what: string): Finding {
  return {
    kind: 'snapshot-without-record',
    what,
    message: 'has storage, but is not in the record of its volume',
    next: [
      `replace it with the present content of the volume: berth snapshot create ${what}`,
      `delete it: berth doctor --fix --delete ${what}`,
    ],
  };
}

export function notOurs(driver: VolumeDriver, name: string): Finding {
  return {
    kind: 'leftover',
    what: name,
    message: `lies among the volumes of driver ${driver.name}, but no volume can have this name`,
    next: ['move it away: berth did not create it'],
  };
}

/** Removes the fix from a finding: the doctor changes nothing without a lock. */
export function untilEnabled(volume: string, { fix: _, ...finding }: Finding): Finding {
  const next = `volume ${volume} is disabled; enable it first: berth lock enable ${volume}`;
  return { ...finding, next: [...finding.next, next] };
}

export function snapshotIn(what: string): string {
  return what.slice(what.indexOf('@') + 1);
}
