import createDebug from 'debug';
import type { Lock } from '../../lock/lock.ts';
import { allOf } from '../../running/all-of.ts';
import type { Clock } from '../../running/clock.ts';
import type { DriverContext, LiveSource, SnapshotTarget, VolumeDriver } from '../drivers/driver.ts';
import { ExistsError, InUseError, InvalidRequestError, NotFoundError } from '../errors.ts';
import type { Mounts } from '../mounts/mounts.ts';
import type { PoolRoom } from '../pools/pool-room.ts';
import type { Pools } from '../pools/pools.ts';
import type { Catalog, CatalogEntry } from '../records/catalog.ts';
import { recordDeletion, recordWrite } from '../records/catalog.ts';
import type { CallContext } from '../service.ts';
import type { Snapshot, VolumeRecord, VolumeSource } from '../volume.ts';
import { formatSource } from '../volume.ts';
import type { Fencing } from './fencing.ts';
import { refuseLeft } from './left-storage.ts';
import type { NewVolume } from './volume-options.ts';

const log = createDebug('berth:volumes');

export interface VolumesOptions {
  readonly catalog: Catalog;
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  readonly clock: Clock;
  /** This host's name, for the record. */
  readonly host: string;
  /** The mounts of this host. */
  readonly mounts: Pick<Mounts, 'get' | 'requireUnmounted'>;
  readonly pools: Pick<Pools, 'require'>;
  readonly fencing: Pick<Fencing, 'require'>;
  /** Returns the keys of the claims on a volume, which end with it. */
  readonly claimKeys: (volume: string) => readonly string[];
  readonly room: Pick<PoolRoom, 'during'>;
}

/**
 * Carries out each operation on storage and records. The caller (LockedVolumes) holds the locks:
 * each method does the storage work first and then changes the record and releases the locks in
 * one guarded step, so that a host that has lost its locks changes no record.
 */
export class Volumes {
  readonly #options: VolumesOptions;

  constructor(options: VolumesOptions) {
    this.#options = options;
  }

  /** Creates a volume. A volume that exists as wanted stays unchanged. */
  async create(wanted: NewVolume, lock: Lock, context: CallContext): Promise<void> {
    const existing = await this.#entry(wanted.name, lock);
    if (existing) return wanted.checkSame(existing.record);
    await this.#make(wanted, lock, context);
  }

  /** Creates a volume whose name must be new. */
  async copy(wanted: NewVolume, lock: Lock, context: CallContext): Promise<void> {
    const existing = await this.#entry(wanted.name, lock);
    if (existing) {
      throw new ExistsError(`volume ${wanted.name} exists already; a copy needs a new name`);
    }
    await this.#make(wanted, lock, context);
  }

  /** Removes the storage first: a record without storage can be removed again; the reverse can't. */
  async remove(name: string, lock: Lock, context: CallContext): Promise<void> {
    const { record, revision } = await this.#read(name, lock);
    if (record.snapshots.length > 0) {
      const snapshots = record.snapshots.map((snapshot) => `${name}@${snapshot.name}`);
      throw new InUseError(
        `volume ${name} has snapshots: ${snapshots.join(', ')}; remove them first with ` +
          `"berth snapshot rm ${snapshots[0]}"`,
      );
    }
    const unmounted = this.#options.mounts.requireUnmounted(name);
    const [, driver] = await allOf([unmounted, this.#driverInPlace(record.driver)]);
    await driver.remove(record, this.#during(lock, context));
    const claims = this.#options.claimKeys(name).map((key) => ({ key, value: undefined }));
    await lock.guard([...recordDeletion(name, revision), ...claims], { unlock: true });
  }

  async snapshot(
    volume: string,
    name: string,
    lock: Lock,
    context: CallContext,
  ): Promise<Snapshot> {
    const { record, revision } = await this.#read(volume, lock);
    if (record.snapshots.some((snapshot) => snapshot.name === name)) {
      throw new ExistsError(`volume ${volume} has a snapshot ${name} already`);
    }
    const driver = await this.#driverInPlace(record.driver);
    const target = { ...this.#live(record), snapshot: name };
    const during = this.#during(lock, context);
    // A crash may have left a snapshot of that name, without a record, of an older moment.
    await driver.removeSnapshot(target, during);
    const { volumeBytes } = await driver.occupied(record);
    await this.#options.room.during(driver, volumeBytes, () =>
      this.#thawedAfter(driver, target, lock, () => driver.snapshot(target, during)),
    );
    const snapshot = { name, createdAt: this.#options.clock.date().toISOString() };
    await this.#changeRecord(record, revision, lock, {
      snapshots: [...record.snapshots, snapshot],
    });
    return snapshot;
  }

  async removeSnapshot(
    { volume, snapshot }: Required<VolumeSource>,
    lock: Lock,
    context: CallContext,
  ): Promise<void> {
    const { record, revision } = await this.#read(volume, lock);
    findSnapshot(record, snapshot);
    const target = { ...this.#live(record), snapshot };
    const driver = await this.#driverInPlace(record.driver);
    await driver.removeSnapshot(target, this.#during(lock, context));
    await this.#changeRecord(record, revision, lock, {
      snapshots: record.snapshots.filter(({ name }) => name !== snapshot),
    });
  }

  async restoreSnapshot(
    { volume, snapshot }: Required<VolumeSource>,
    lock: Lock,
    context: CallContext,
  ): Promise<void> {
    const { record } = await this.#read(volume, lock);
    findSnapshot(record, snapshot);
    const target = { ...this.#live(record), snapshot };
    await this.#options.mounts.requireUnmounted(volume);
    const driver = await this.#driverInPlace(record.driver);
    await driver.restore(target, this.#during(lock, context));
    lock.throwIfLost();
  }

  /** Returns the driver of that name; throws InvalidRequestError, which names all drivers. */
  driver(name: string): VolumeDriver {
    const driver = this.#options.drivers.get(name);
    if (driver) return driver;
    const names = [...this.#options.drivers.keys()].join(', ');
    throw new InvalidRequestError(
      `there is no driver ${JSON.stringify(name)}; there are: ${names}`,
    );
  }

  /** Rejects UnavailableError unless the pool of the volume's driver is this cluster's and can be used. */
  async requirePool({ driver }: Pick<VolumeRecord, 'driver'>): Promise<void> {
    await this.#driverInPlace(driver);
  }

  async #driverInPlace(name: string): Promise<VolumeDriver> {
    const driver = this.driver(name);
    await this.#options.pools.require(driver);
    return driver;
  }

  async #read(name: string, lock?: Pick<Lock, 'read'>): Promise<CatalogEntry> {
    const entry = await this.#entry(name, lock);
    if (!entry) throw new NotFoundError(`no such volume: ${name}`);
    return entry;
  }

  /** Returns the volume's record, which the grant of the lock has read. */
  async #entry(name: string, lock?: Pick<Lock, 'read'>): Promise<CatalogEntry | undefined> {
    const { catalog } = this.#options;
    return lock?.read ? catalog.entry(lock.read.record) : await catalog.read(name);
  }

  #live(record: VolumeRecord): LiveSource {
    return { volume: record, mountpoint: this.#options.mounts.get(record.name)?.mountpoint };
  }

  /** Returns a context that stops storage work when the caller leaves or the lock is lost. */
  #during(lock: Lock, { signal, onProgress }: CallContext): DriverContext {
    lock.throwIfLost();
    return { signal: AbortSignal.any([signal, lock.signal]), onProgress, lock };
  }

  /**
   * Thaws a mounted volume when a copy of it fails: the process that did the work may have ended in the
   * middle. Without proof of the lock the volume may be frozen by the sentinel, and stays so.
   */
  async #thawedAfter(
    driver: VolumeDriver,
    { mountpoint }: LiveSource,
    lock: Lock,
    copy: () => Promise<void>,
  ): Promise<void> {
    try {
      await copy();
    } catch (error) {
      const mayBeFrozen = mountpoint !== undefined && driver.capabilities.ownsFileSystem;
      if (mayBeFrozen && !lock.signal.aborted) {
        await driver.recover(mountpoint, { signal: lock.signal }).catch((reason) => {
          log('driver=%s %s could not be thawed: %s', driver.name, mountpoint, reason);
        });
      }
      throw error;
    }
  }

  /**
   * Creates storage, then the record. Empty storage that a crash left is used, and a copy that a crash left
   * is replaced by a copy; other storage with content is refused, unless the request adopts it.
   */
  async #make(wanted: NewVolume, lock: Lock, context: CallContext): Promise<void> {
    const driver = this.driver(wanted.driver);
    const [, , found] = await allOf([
      this.#options.pools.require(driver),
      // Storage without a record may still be mounted here, by a volume that had this name.
      this.#options.mounts.requireUnmounted(wanted.name),
      driver.storage.find(wanted.name),
    ]);
    await this.#options.fencing.require(wanted);
    const during = this.#during(lock, context);
    const { source } = wanted;
    const from = source && (await this.#cloneSource(source));
    refuseLeft(wanted, found);
    const record: VolumeRecord = {
      version: 1,
      name: wanted.name,
      driver: wanted.driver,
      options: { ...wanted.options },
      access: wanted.access,
      failover: wanted.failover,
      onLost: wanted.onLost,
      ...(wanted.fencing !== undefined && { fencing: wanted.fencing }),
      createdAt: this.#options.clock.date().toISOString(),
      createdBy: this.#options.host,
      ...(wanted.source ? { from: formatSource(wanted.source) } : {}),
      snapshots: [],
      token: lock.token,
    };
    await this.#options.room.during(driver, driver.promisedBytes(wanted), async () => {
      const clone = (source: LiveSource) => driver.clone(source, wanted, during);
      if (from) await this.#thawedAfter(driver, from, lock, () => clone(from));
      else await driver.create(wanted, during);
      await lock.guard([recordWrite(record, 0)], { unlock: true });
    });
  }

  async #cloneSource({ volume, snapshot }: VolumeSource): Promise<LiveSource | SnapshotTarget> {
    const { record } = await this.#read(volume);
    if (snapshot === undefined) return this.#live(record);
    findSnapshot(record, snapshot);
    return { ...this.#live(record), snapshot };
  }

  async #changeRecord(
    record: VolumeRecord,
    revision: number,
    lock: Lock,
    change: Partial<VolumeRecord>,
  ): Promise<void> {
    const changed = { ...record, ...change, token: lock.token };
    await lock.guard([recordWrite(changed, revision)], { unlock: true });
  }
}

function findSnapshot(record: VolumeRecord, name: string): void {
  if (record.snapshots.some((snapshot) => snapshot.name === name)) return;
  const names = record.snapshots.map((snapshot) => snapshot.name).join(', ') || 'none';
  throw new NotFoundError(
    `volume ${record.name} has no snapshot ${name}; its snapshots are: ${names}`,
  );
}
