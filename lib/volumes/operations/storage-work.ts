import type { Lock } from '../../lock/lock.ts';
import type { RecordWrite } from '../../lock/stores/ticket-store.ts';
import type { DriverContext, LiveSource, VolumeDriver } from '../drivers/driver.ts';
import { InvalidRequestError } from '../errors.ts';
import type { Mounts } from '../mounts/mounts.ts';
import type { Pools } from '../pools/pools.ts';
import type { Catalog, CatalogEntry } from '../records/catalog.ts';
import { recordWrite } from '../records/catalog.ts';
import type { CallContext } from '../service.ts';
import type { VolumeRecord } from '../volume.ts';
import { refuseRenaming } from './rename-refusals.ts';

export interface StorageWorkOptions {
  readonly catalog: Catalog;
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  /** The mounts of this host. */
  readonly mounts: Pick<Mounts, 'get'>;
  readonly pools: Pick<Pools, 'require' | 'allowsWork' | 'duringWork'>;
}

/** Gives the operations what they have in common: the record, the driver, and the context of work under a lock. */
export class StorageWork {
  readonly #options: StorageWorkOptions;

  constructor(options: StorageWorkOptions) {
    this.#options = options;
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

  /** Does the same; rejects UnavailableError unless its pool is this cluster's and can be used. */
  async driverInPlace(name: string): Promise<VolumeDriver> {
    const driver = this.driver(name);
    await this.#options.pools.require(driver);
    return driver;
  }

  /** Does the same, unless storage work in that pool may look for its mark itself (`inPool`). True: it has looked. */
  async lookForWork(name: string): Promise<boolean> {
    const isLeft = this.#options.pools.allowsWork(this.driver(name));
    if (!isLeft) await this.driverInPlace(name);
    return !isLeft;
  }

  /**
   * Creates or removes storage; rejects as `driverInPlace`, with nothing changed. `hasLooked`: somebody has just looked
   * at the pool. Else looks for its mark, if possible in the same call of the storage worker.
   */
  async inPool<T>(
    driver: VolumeDriver,
    context: DriverContext,
    hasLooked: boolean,
    work: (context: DriverContext) => Promise<T>,
  ): Promise<T> {
    if (hasLooked || driver.capabilities.hostOnly) return await work(context);
    return await this.#options.pools.duringWork(driver, (poolMark) =>
      work({ ...context, poolMark }),
    );
  }

  /** Does the same as `known`; rejects InUseError if a rename of the volume was interrupted. */
  async read(name: string, lock?: Pick<Lock, 'read'>): Promise<CatalogEntry> {
    const entry = await this.known(name, lock);
    refuseRenaming(entry.record);
    return entry;
  }

  /** Does the same as `entry`; rejects NotFoundError if there is no such volume. */
  async known(name: string, lock?: Pick<Lock, 'read'>): Promise<CatalogEntry> {
    const entry = await this.entry(name, lock);
    if (!entry) throw this.#options.catalog.notFound(name);
    return entry;
  }

  /** Returns the volume's record, which the grant of the lock has read. */
  async entry(name: string, lock?: Pick<Lock, 'read'>): Promise<CatalogEntry | undefined> {
    const { catalog } = this.#options;
    return lock?.read ? catalog.entry(lock.read.record) : await catalog.read(name);
  }

  /** Returns the volume as a source of a copy, with its mountpoint if it is mounted here. */
  live(record: VolumeRecord): LiveSource {
    return { volume: record, mountpoint: this.#options.mounts.get(record.name)?.mountpoint };
  }

  /** Returns a context that stops storage work when the caller leaves or the lock is lost. */
  during(lock: Lock, { signal, onProgress }: CallContext): DriverContext {
    lock.throwIfLost();
    return { signal: AbortSignal.any([signal, lock.signal]), onProgress, lock };
  }

  /** Changes the record and releases the locks, in one guarded step that makes the `others` as well. */
  async changeRecord(
    record: VolumeRecord,
    revision: number,
    lock: Lock,
    change: Partial<VolumeRecord>,
    others: readonly RecordWrite[] = [],
  ): Promise<void> {
    const changed = { ...record, ...change, token: lock.token };
    await lock.guard([recordWrite(changed, revision), ...others], { unlock: true });
  }
}
