import type { LockService } from '../../lock/use/lock-service.ts';
import type { VolumeDriver } from '../drivers/driver.ts';
import type { StoredVolume } from '../drivers/stored-volume.ts';
import type { Mounts } from '../mounts/mounts.ts';
import type { Volumes } from '../operations/volumes.ts';
import type { PoolTrouble } from '../pools/pool-conditions.ts';
import { poolAdvice, poolFault } from '../pools/pool-conditions.ts';
import type { Pools } from '../pools/pools.ts';
import type { Catalog } from '../records/catalog.ts';
import type { VolumeRecord } from '../volume.ts';
import { checkVolumeName, formatSource } from '../volume.ts';
import type { Ailment, Finding, Outcome, Treatment } from './finding.ts';
import { found, isSame, mended } from './finding.ts';
import type { Hold } from './locks.ts';
import { whileIdle } from './locks.ts';
import { orSilent } from './silent.ts';

export interface StorageDoctorOptions {
  readonly catalog: Catalog;
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  readonly locks: LockService;
  readonly mounts: Pick<Mounts, 'requireUnmounted'>;
  readonly volumes: Volumes;
  readonly pools: Pick<Pools, 'trouble'>;
  /** The plugin's name for `docker volume create -d`. */
  readonly pluginName: string;
}

/** Compares the records with the storage that this host sees, each volume under its locks. */
export class StorageDoctor {
  readonly #options: StorageDoctorOptions;

  constructor(options: StorageDoctorOptions) {
    this.#options = options;
  }

  async examine(treatment: Treatment): Promise<Outcome[]> {
    const outcomes: Outcome[] = [];
    for (const driver of this.#options.drivers.values()) {
      const storage = `storage of driver ${driver.name}`;
      outcomes.push(...(await orSilent(storage, () => this.#examineDriver(driver, treatment))));
    }
    return outcomes;
  }

  async #examineDriver(driver: VolumeDriver, treatment: Treatment): Promise<Outcome[]> {
    // Without its pool, every volume looks as if its storage were gone.
    const trouble = await this.#options.pools.trouble(driver);
    if (trouble) return [found(poolAway(trouble))];
    const outcomes = await leftovers(driver, treatment);
    const { suspects, silent } = await this.#suspects(driver);
    outcomes.push(...silent);
    for (const name of suspects) {
      const examined = () => this.#examineVolume(driver, name, treatment);
      outcomes.push(...(await orSilent(name, examined)));
    }
    return outcomes;
  }

  /** Finds, without locks, the volumes that need an examination under their locks. */
  async #suspects(driver: VolumeDriver): Promise<{ suspects: string[]; silent: Outcome[] }> {
    const records = this.#options.catalog.list().filter((record) => record.driver === driver.name);
    const byName = new Map(records.map((record) => [record.name, record]));
    const names = new Set([...byName.keys(), ...(await driver.storage.names())]);
    const suspects: string[] = [];
    const silent: Outcome[] = [];
    const look = async (name: string): Promise<Outcome[]> => {
      const stored = await driver.storage.find(name);
      const { pluginName } = this.#options;
      const all = findings(driver, name, byName.get(name), stored, pluginName);
      if (all.length > 0) suspects.push(name);
      return [];
    };
    for (const name of names) silent.push(...(await orSilent(name, () => look(name))));
    return { suspects: suspects.sort(), silent };
  }

  async #examineVolume(
    driver: VolumeDriver,
    name: string,
    treatment: Treatment,
  ): Promise<Outcome[]> {
    const { locks } = this.#options;
    if (!isVolumeName(name)) return [found(notOurs(driver, name))];
    const look = <T>(see: (ailments: readonly Ailment[]) => Promise<T>) =>
      whileIdle(locks, name, treatment.signal, async (hold) =>
        see(await this.#ailments(driver, name, hold, treatment)),
      );
    const first = await look(async (ailments) => ailments);
    const outcomes: Outcome[] = [];
    for (const { finding, mend } of first ?? []) {
      if (mend === undefined) {
        outcomes.push(found(finding));
        continue;
      }
      // Under the locks once more: fixing one finding may release them.
      const outcome = await look(async (ailments) => {
        const again = ailments.find((other) => isSame(other.finding, finding));
        return again?.mend && (await mended(again.finding, again.mend));
      });
      if (outcome) outcomes.push(outcome);
    }
    return outcomes;
  }

  async #ailments(
    driver: VolumeDriver,
    name: string,
    hold: Hold,
    { fix, deletions, signal }: Treatment,
  ): Promise<Ailment[]> {
    const { catalog, mounts, volumes, pluginName } = this.#options;
    const entry = await catalog.read(name);
    const record = entry?.record.driver === driver.name ? entry.record : undefined;
    const stored = await driver.storage.find(name);
    const all = findings(driver, name, record, stored, pluginName);
    if (hold.scope === 'nothing')
      return all.map((finding) => ({ finding: untilEnabled(name, finding) }));
    const { lock } = hold;
    const during = { signal: AbortSignal.any([signal, lock.signal]) };
    const mends: Partial<Record<Finding['kind'], (finding: Finding) => Promise<void>>> = {
      'storage-without-record': async () => {
        await mounts.requireUnmounted(name);
        await driver.remove({ name, options: stored?.options ?? {} }, during);
      },
      'interrupted-restore': async () => record && (await driver.create(record, during)),
      'snapshot-without-storage': ({ what }) =>
        volumes.removeSnapshot({ volume: name, snapshot: snapshotIn(what) }, lock, { signal }),
      'snapshot-without-record': async ({ what }) =>
        record &&
        (await driver.removeSnapshot({ volume: record, snapshot: snapshotIn(what) }, during)),
    };
    return all
      .filter(({ kind }) => hold.scope === 'volume' || kind.startsWith('snapshot-'))
      .map((finding) => {
        const mend = mends[finding.kind];
        const isAllowed = fix && (finding.fix !== undefined || deletions.has(finding.what));
        return { finding, mend: isAllowed && mend ? () => mend(finding) : undefined };
      });
  }
}

async function leftovers(driver: VolumeDriver, { fix }: Treatment): Promise<Outcome[]> {
  const before = (await driver.storage.leftovers()).map(
    ({ what, since }): Finding => ({
      kind: 'leftover',
      what,
      message: 'was left by work that was interrupted, and nobody uses it',
      ...(since !== undefined && { since }),
      fix: 'removes it',
      next: [],
    }),
  );
  if (!fix || before.length === 0) return before.map(found);
  const kept = new Map((await driver.storage.sweep()).map(({ what, why }) => [what, why]));
  const left = new Set((await driver.storage.leftovers()).map(({ what }) => what));
  return before.map((finding) =>
    left.has(finding.what)
      ? {
          ...finding,
          state: 'failed',
          error: `can't be removed: ${kept.get(finding.what) ?? 'in use'}`,
        }
      : { ...finding, state: 'fixed' },
  );
}

/** Lists the mismatches between a volume's record and its storage. */
function findings(
  driver: VolumeDriver,
  name: string,
  record: VolumeRecord | undefined,
  stored: StoredVolume | undefined,
  pluginName: string,
): Finding[] {
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

function poolAway(trouble: PoolTrouble): Finding {
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

function isVolumeName(name: string): boolean {
  try {
    checkVolumeName(name);
    return true;
  } catch {
    return false;
  }
}

function notOurs(driver: VolumeDriver, name: string): Finding {
  return {
    kind: 'leftover',
    what: name,
    message: `lies among the volumes of driver ${driver.name}, but no volume can have this name`,
    next: ['move it away: berth did not create it'],
  };
}

/** Removes the fix from a finding: the doctor changes nothing without a lock. */
function untilEnabled(volume: string, { fix: _, ...finding }: Finding): Finding {
  const next = `volume ${volume} is disabled; enable it first: berth lock enable ${volume}`;
  return { ...finding, next: [...finding.next, next] };
}

function snapshotIn(what: string): string {
  return what.slice(what.indexOf('@') + 1);
}
