import { LockContendedError } from '../../lock/errors.ts';
import type { LockService } from '../../lock/use/lock-service.ts';
import type { VolumeDriver } from '../drivers/driver.ts';
import type { DriverTrash, StoredEntry } from '../drivers/trash.ts';
import { locks } from '../operations/lock-table.ts';
import type { Trash } from '../operations/trash.ts';
import type { Pools } from '../pools/pools.ts';
import type { Catalog } from '../records/catalog.ts';
import type { LostRecords } from '../records/lost-records.ts';
import type { RemovedVolume, RemovedVolumes } from '../records/removed-volumes.ts';
import { removedKey, trashIdOf } from '../records/removed-volumes.ts';
import type { TrashEntry } from '../trash-entry.ts';
import { formatEntry } from '../trash-entry.ts';
import type { VolumeRecord } from '../volume.ts';
import type { Ailment, Finding, Outcome, Treatment } from './finding.ts';
import { found, mended } from './finding.ts';
import { whileIdle } from './locks.ts';
import { orSilent } from './silent.ts';

export interface TrashDoctorOptions {
  readonly catalog: Pick<Catalog, 'read' | 'list'>;
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  readonly locks: LockService;
  readonly pools: Pick<Pools, 'trouble'>;
  readonly removed: RemovedVolumes;
  readonly lost: Pick<LostRecords, 'records'>;
  readonly trash: Pick<Trash, 'restore' | 'forget'>;
}

/** A driver that has a trash. */
type Keeping = VolumeDriver & { readonly trash: DriverTrash };

/** Compares the records of removed volumes with what lies in the drivers' trashes. */
export class TrashDoctor {
  readonly #options: TrashDoctorOptions;

  constructor(options: TrashDoctorOptions) {
    this.#options = options;
  }

  async examine(treatment: Treatment): Promise<Outcome[]> {
    const { drivers, pools } = this.#options;
    const outcomes: Outcome[] = [];
    for (const driver of drivers.values()) {
      // A pool that is away is named by the examination of the storage.
      if (!hasTrash(driver) || (await pools.trouble(driver))) continue;
      const all = await orSilent(`trash of driver ${driver.name}`, () =>
        this.#examineDriver(driver, treatment),
      );
      outcomes.push(...all);
    }
    return outcomes;
  }

  async #examineDriver(driver: Keeping, treatment: Treatment): Promise<Outcome[]> {
    const outcomes: Outcome[] = [];
    const records = this.#options.removed.list().filter((each) => each.driver === driver.name);
    const stored = await driver.trash.entries();
    const { lost } = this.#options;
    const unknown = without(stored, records).filter((each) => !lost.records.has(removedKey(each)));
    for (const entry of unknown) {
      outcomes.push(...(await this.#examineStored(driver, entry, treatment)));
    }
    for (const removed of without(records, stored)) {
      outcomes.push(...(await this.#examineRecord(driver, removed, treatment)));
    }
    return outcomes;
  }

  /** Examines storage in the trash that has no record there, while nobody removes a volume of its name. */
  async #examineStored(
    driver: Keeping,
    entry: StoredEntry,
    { fix, deletions, signal }: Treatment,
  ): Promise<Outcome[]> {
    const { removed, catalog } = this.#options;
    const outcome = await whileIdle(this.#options.locks, entry.volume, signal, async (hold) => {
      const isStill = (await driver.trash.entries()).some((each) => isSameEntry(each, entry));
      if (!isStill || (await removed.read(entry))) return undefined;
      const record = (await catalog.read(entry.volume))?.record;
      const isHalf = record && (await isHalfRemoved(driver, record, entry));
      const finding = isHalf ? interruptedRemoval(entry) : withoutRecord(entry);
      if (!fix || hold.scope === 'nothing') return found(finding);
      const { lock } = hold;
      const during = { signal: AbortSignal.any([signal, lock.signal]), lock };
      if (isHalf) return mended(finding, () => driver.trash.takeOut(entry, record, during));
      if (!deletions.has(finding.what)) return found(finding);
      return mended(finding, () => driver.trash.discard(entry, during));
    });
    return outcome ? [outcome] : [];
  }

  /** Examines a removed volume without storage in the trash, while nobody works on it. */
  async #examineRecord(
    driver: Keeping,
    removed: RemovedVolume,
    { fix, signal }: Treatment,
  ): Promise<Outcome[]> {
    const ailment = await this.#whileNobodyWorks(removed, signal, async () => {
      const isGone = !(await this.#options.removed.read(removed));
      const entries = await driver.trash.entries();
      if (isGone || entries.some((each) => isSameEntry(each, removed))) return undefined;
      return this.#ofRecord(driver, removed, signal);
    });
    if (!ailment) return [];
    const { finding, mend } = ailment;
    return [fix && mend ? await mended(finding, mend) : found(finding)];
  }

  async #ofRecord(driver: Keeping, removed: RemovedVolume, signal: AbortSignal): Promise<Ailment> {
    const { trash } = this.#options;
    const name = await this.#nameOf(driver, removed);
    if (name === undefined) {
      return {
        finding: withoutStorage(removed),
        mend: async () => void (await trash.forget(removed, signal)),
      };
    }
    const request = { volume: removed.volume, which: removed.id, as: name };
    return {
      finding: interruptedReturn(removed, name),
      mend: async () => void (await trash.restore(request, { signal })),
    };
  }

  /** Returns the name, without a record, that the storage of a removed volume has. */
  async #nameOf(driver: Keeping, { identity }: RemovedVolume): Promise<string | undefined> {
    const recorded = new Set(this.#options.catalog.list().map(({ name }) => name));
    for (const name of await driver.storage.names()) {
      if (recorded.has(name)) continue;
      if ((await driver.trash.identityOf(name)) === identity) return name;
    }
    return undefined;
  }

  async #whileNobodyWorks<T>(
    entry: TrashEntry,
    signal: AbortSignal,
    look: () => Promise<T>,
  ): Promise<T | undefined> {
    const uses = locks.discardRemoved(entry);
    const options = { signal, timeoutMs: 0, detail: 'doctor' };
    try {
      return await this.#options.locks.executeWithMultiUseLock(uses, options, look);
    } catch (error) {
      if (error instanceof LockContendedError) return undefined;
      throw error;
    }
  }
}

function hasTrash(driver: VolumeDriver): driver is Keeping {
  return driver.trash !== undefined;
}

function isSameEntry(one: TrashEntry, other: TrashEntry): boolean {
  return one.volume === other.volume && one.id === other.id;
}

function without<T extends TrashEntry>(all: readonly T[], others: readonly TrashEntry[]): T[] {
  return all.filter((each) => !others.some((other) => isSameEntry(each, other)));
}

/** A Remove has moved the storage, and then has not changed the record. */
async function isHalfRemoved(
  driver: Keeping,
  record: VolumeRecord,
  { id }: TrashEntry,
): Promise<boolean> {
  if (record.driver !== driver.name || trashIdOf(record) !== id) return false;
  return (await driver.trash.identityOf(record.name)) === undefined;
}

function interruptedRemoval({ volume, since }: StoredEntry): Finding {
  return {
    kind: 'interrupted-removal',
    what: volume,
    message: 'has its storage in the trash, because its removal was interrupted',
    since,
    fix: 'undoes the removal',
    next: [`complete the removal: docker volume rm ${volume}`],
  };
}

function withoutRecord(entry: StoredEntry): Finding {
  const what = formatEntry(entry);
  return {
    kind: 'trash-without-record',
    what,
    message: 'lies in the trash, but has no record, so nothing deletes it at a term',
    since: entry.since,
    next: [`delete it: berth doctor --fix --delete ${what}`],
  };
}

function withoutStorage(removed: RemovedVolume): Finding {
  return {
    kind: 'removed-without-storage',
    what: formatEntry(removed),
    message: 'is listed in the trash, but its storage is gone',
    since: removed.removedAt,
    fix: 'drops it from the list',
    next: [],
  };
}

function interruptedReturn(removed: RemovedVolume, name: string): Finding {
  return {
    kind: 'interrupted-return',
    what: formatEntry(removed),
    message: `has its storage under the name ${name}, because its restore from the trash was interrupted`,
    since: removed.removedAt,
    fix: 'completes the restore',
    next: [],
  };
}
