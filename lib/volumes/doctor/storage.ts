import type { LockService } from '../../lock/use/lock-service.ts';
import type { VolumeDriver } from '../drivers/driver.ts';
import type { Mounts } from '../mounts/mounts.ts';
import type { Volumes } from '../operations/volumes.ts';
import type { Pools } from '../pools/pools.ts';
import type { Catalog } from '../records/catalog.ts';
import { isStoredOn } from '../stored-on.ts';
import { UnreadableRecordError } from '../stored-text.ts';
import { isVolumeName } from '../volume.ts';
import type { Ailment, Finding, Outcome, Treatment } from './finding.ts';
import { found, isSame, mended } from './finding.ts';
import type { Hold } from './locks.ts';
import { whileIdle } from './locks.ts';
import { orSilent } from './silent.ts';
import {
  findings,
  isBeingRenamed,
  notOurs,
  poolAway,
  snapshotIn,
  untilEnabled,
} from './storage-findings.ts';

export interface StorageDoctorOptions {
  readonly catalog: Catalog;
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  readonly locks: LockService;
  readonly mounts: Pick<Mounts, 'requireUnmounted'>;
  readonly volumes: Volumes;
  readonly pools: Pick<Pools, 'trouble'>;
  /** The name of this host. */
  readonly host: string;
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
      outcomes.push(...(await orUnreadable(() => orSilent(name, examined))));
    }
    return outcomes;
  }

  /** Finds, without locks, the volumes that need an examination under their locks. */
  async #suspects(driver: VolumeDriver): Promise<{ suspects: string[]; silent: Outcome[] }> {
    const { catalog, host } = this.#options;
    const records = catalog.list().filter((record) => isStoredOn(host, record, driver));
    const byName = new Map(records.map((record) => [record.name, record]));
    const names = new Set([...byName.keys(), ...(await driver.storage.names())]);
    // What such a record would say of its storage is not known; unreadable-records.ts reports it.
    for (const { name } of catalog.unreadable()) if (name !== undefined) names.delete(name);
    // Its record may come back; lost-records.ts reports it.
    for (const name of [...names]) if (catalog.isLost(name)) names.delete(name);
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
    const { catalog, mounts, volumes, pluginName, host } = this.#options;
    const entry = await catalog.read(name);
    if (isBeingRenamed(entry?.record)) return [];
    const isHere = entry !== undefined && isStoredOn(host, entry.record, driver);
    const record = isHere ? entry.record : undefined;
    const stored = await driver.storage.find(name);
    const all = findings(driver, name, record, stored, pluginName);
    if (hold.scope === 'nothing')
      return all.map((finding) => ({ finding: untilEnabled(name, finding) }));
    const { lock } = hold;
    const during = { signal: AbortSignal.any([signal, lock.signal]), lock };
    const mends: Partial<Record<Finding['kind'], (finding: Finding) => Promise<void>>> = {
      'storage-without-record': async () => {
        await mounts.requireUnmounted(name);
        await driver.remove({ name, options: stored?.options ?? {} }, during);
      },
      'interrupted-restore': async () => {
        if (record) await driver.create(record, during);
      },
      'snapshot-without-storage': ({ what }) =>
        volumes.snapshots.remove({ volume: name, snapshot: snapshotIn(what) }, lock, { signal }),
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

/** A record that has become unreadable since stops the examination of its own volume alone. */
async function orUnreadable(examine: () => Promise<Outcome[]>): Promise<Outcome[]> {
  try {
    return await examine();
  } catch (error) {
    if (error instanceof UnreadableRecordError) return [];
    throw error;
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
