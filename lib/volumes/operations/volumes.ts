import type { Lock } from '../../lock/lock.ts';
import { allOf } from '../../running/all-of.ts';
import type { DriverContext, LiveSource, SnapshotTarget, VolumeDriver } from '../drivers/driver.ts';
import { ExistsError, InUseError, InvalidRequestError } from '../errors.ts';
import type { MappedRoot } from '../mapped-root.ts';
import type { Mounts } from '../mounts/mounts.ts';
import { recordDeletion, recordWrite } from '../records/catalog.ts';
import type { CallContext } from '../service.ts';
import { requireStoredOn } from '../stored-on.ts';
import type { CopyKind, VolumeRecord, VolumeSource } from '../volume.ts';
import { copyKindOf } from './copies-in-use.ts';
import type { EarlyLook } from './early-look.ts';
import type { Fencing } from './fencing.ts';
import { createUnlessLeft, requireNothingLeft } from './left-storage.ts';
import { refuseKeptName } from './rename-refusals.ts';
import type { RenamesOptions } from './renames.ts';
import { Renames } from './renames.ts';
import { refuseProtected } from './rule-changes.ts';
import type { SnapshotsOptions } from './snapshots.ts';
import { findSnapshot, Snapshots } from './snapshots.ts';
import type { StorageWorkOptions } from './storage-work.ts';
import { StorageWork } from './storage-work.ts';
import type { Trash } from './trash.ts';
import type { NewVolume } from './volume-options.ts';
import { firstRecord } from './volume-options.ts';

export interface VolumesOptions extends StorageWorkOptions, SnapshotsOptions, RenamesOptions {
  /** The mounts of this host. */
  readonly mounts: Pick<Mounts, 'get' | 'requireUnmounted'>;
  readonly fencing: Pick<Fencing, 'require'>;
  /** Returns the keys of the claims on a volume, which end with it. */
  readonly claimKeys: (volume: string) => readonly string[];
  readonly trash: Pick<Trash, 'keeps' | 'put'>;
  /**
   * Returns the user and the group on this host that root of a container is, if it is another one than the
   * host's root; absent, or undefined: it is the host's.
   */
  readonly mappedRoot?: ((signal: AbortSignal) => Promise<MappedRoot | undefined>) | undefined;
}

interface CopySource {
  readonly record: VolumeRecord;
  readonly source: LiveSource | SnapshotTarget;
  /** Undefined: not known. */
  readonly kind: CopyKind | undefined;
}

/**
 * Carries out each operation on storage and records. The caller (LockedVolumes) holds the locks:
 * each method does the storage work first and then changes the record and releases the locks in
 * one guarded step, so that a host that has lost its locks changes no record.
 */
export class Volumes {
  readonly snapshots: Snapshots;
  readonly renames: Renames;
  readonly #options: VolumesOptions;
  readonly #work: StorageWork;

  constructor(options: VolumesOptions) {
    this.#options = options;
    this.#work = new StorageWork(options);
    this.snapshots = new Snapshots(options, this.#work);
    this.renames = new Renames(options, this.#work);
  }

  /** Creates a volume. A volume that exists as wanted stays unchanged. */
  async create(
    wanted: NewVolume,
    lock: Lock,
    look: EarlyLook<boolean>,
    context: CallContext,
  ): Promise<void> {
    const existing = await this.#work.entry(wanted.name, lock);
    if (existing) {
      refuseKeptName(existing.record);
      return wanted.checkSame(existing.record);
    }
    await this.#make(wanted, lock, look, context);
  }

  /** Creates a volume whose name must be new. */
  async copy(
    wanted: NewVolume,
    lock: Lock,
    look: EarlyLook<boolean>,
    context: CallContext,
  ): Promise<void> {
    const existing = await this.#work.entry(wanted.name, lock);
    if (existing) {
      refuseKeptName(existing.record);
      throw new ExistsError(`volume ${wanted.name} exists already; a copy needs a new name`);
    }
    await this.#make(wanted, lock, look, context);
  }

  /**
   * Removes the storage first: a record without storage can be removed again; the reverse can't. With a trash,
   * the storage and the snapshots stay there for a term.
   */
  async remove(
    name: string,
    lock: Lock,
    look: EarlyLook<boolean>,
    context: CallContext,
  ): Promise<void> {
    const entry = await this.#work.read(name, lock);
    const { record, revision } = entry;
    const driver = this.#work.driver(record.driver);
    const isKept = this.#options.trash.keeps(driver, record);
    refuseProtected(record);
    await context.check?.(record);
    if (!isKept) refuseSnapshots(record);
    const hasLooked = await this.#inPlace(record, look);
    const during = this.#work.during(lock, context);
    const claims = this.#options.claimKeys(name).map((key) => ({ key, value: undefined }));
    if (isKept) {
      if (!hasLooked) await this.#work.driverInPlace(record.driver);
      return await this.#options.trash.put(entry, driver, lock, during, claims);
    }
    await this.#work.inPool(driver, during, hasLooked, (inPool) => driver.remove(record, inPool));
    await lock.guard([...recordDeletion(name, revision), ...claims], { unlock: true });
  }

  /**
   * Makes a volume larger, at once if it is mounted here, else with its next Mount. After a crash its file system may
   * be larger than its record says; a repeat completes it.
   */
  async resize(name: string, size: string, lock: Lock, context: CallContext): Promise<void> {
    const { record, revision } = await this.#work.read(name, lock);
    this.requireHere(record);
    const driver = await this.#work.driverInPlace(record.driver);
    // Only the size: a record of an earlier release may lack options that have defaults now.
    const { size: text = size } = driver.parseOptions({ ...record.options, size });
    const options = { ...record.options, size: text };
    const grown = { name, options };
    if (!driver.grow) {
      throw new InvalidRequestError(`driver ${driver.name} can't make a volume larger`);
    }
    const grow = driver.grow.bind(driver);
    const bytes = driver.promisedBytes(grown) - driver.promisedBytes(record);
    if (bytes < 0) {
      throw new InvalidRequestError(
        `volume ${name} can't become smaller than it is (${record.options.size} bytes): make a new volume of ` +
          'that size and copy its files',
      );
    }
    const { mountpoint } = this.#work.live(record);
    await this.#options.room.during(driver, bytes, lock, async (ends) => {
      const during = this.#work.during(lock, context);
      if (mountpoint !== undefined) await grow(grown, mountpoint, during);
      await this.#work.changeRecord(record, revision, lock, { options }, ends);
    });
  }

  /** Returns the driver of that name; throws InvalidRequestError, which names all drivers. */
  driver(name: string): VolumeDriver {
    return this.#work.driver(name);
  }

  /** Throws UnavailableError if the volume is on another host alone. */
  requireHere(record: VolumeRecord): void {
    requireStoredOn(this.#options.host, record, this.#work.driver(record.driver));
  }

  /** Rejects UnavailableError unless the pool of a driver is this cluster's and can be used. */
  async requirePool(driver: string): Promise<void> {
    await this.#work.driverInPlace(driver);
  }

  /**
   * Rejects if storage of that name can't be made or removed: its pool can't be used, or the kernel has it
   * mounted here, also if no volume has a record of that name any more. False: the work has to look at the pool.
   */
  async requireInPlace(name: string, driver: string): Promise<boolean> {
    const unmounted = this.#options.mounts.requireUnmounted(name);
    const [hasLooked] = await allOf([this.#work.lookForWork(driver), unmounted]);
    return hasLooked;
  }

  async #inPlace(
    { name, driver }: NewVolume | VolumeRecord,
    look: EarlyLook<boolean>,
  ): Promise<boolean> {
    const hasLooked = await look.done(driver);
    // A Mount that has failed since may have left its mount, and then it has left its row.
    if (this.#options.mounts.get(name)) await this.#options.mounts.requireUnmounted(name);
    return hasLooked;
  }

  /**
   * Creates storage, then the record. Empty storage that a crash left is used, and a copy that a crash left
   * is replaced by a copy; other storage with content is refused, unless the request adopts it.
   */
  async #make(
    asked: NewVolume,
    lock: Lock,
    look: EarlyLook<boolean>,
    context: CallContext,
  ): Promise<void> {
    const driver = this.#work.driver(asked.driver);
    const owned = this.#owned(asked, driver, context);
    const [wanted, hasLooked] = await allOf([owned, this.#inPlace(asked, look)]);
    const { source } = wanted;
    const bytes = driver.promisedBytes(wanted);
    const isOneCall = source === undefined && bytes === 0 && driver.takeover === undefined;
    if (!isOneCall && !hasLooked) await this.#work.driverInPlace(driver.name);
    await this.#options.fencing.require(wanted);
    const during = this.#work.during(lock, context);
    const from = source && (await this.#copySource(source, driver, context));
    if (from) await requireNothingLeft(driver, wanted); // A copy would replace it.
    const record = firstRecord(wanted, {
      createdAt: this.#options.clock.date().toISOString(),
      createdBy: this.#options.host,
      copyKind: from?.kind,
      token: lock.token,
    });
    const create = (inPool: DriverContext) => createUnlessLeft(driver, wanted, inPool);
    await this.#options.room.during(driver, bytes, lock, async (ends) => {
      if (isOneCall) await this.#work.inPool(driver, during, hasLooked, create);
      else if (!from) await create(during);
      else if ('snapshot' in from.source) await driver.clone(from.source, wanted, during);
      else {
        await this.#options.copies.make(
          { driver, lock, ...from },
          context,
          during,
          (inUse) => driver.clone(from.source, wanted, inUse),
          () => driver.remove(wanted, during),
        );
      }
      await lock.guard([recordWrite(record, 0), ...ends], { unlock: true });
    });
  }

  /** Gives a new, empty volume to the root of this host's containers, unless the request names an owner. */
  async #owned(
    wanted: NewVolume,
    driver: VolumeDriver,
    { signal }: CallContext,
  ): Promise<NewVolume> {
    const { options, source, adopts } = wanted;
    const hasOwner = options.uid !== undefined || options.gid !== undefined;
    if (source !== undefined || adopts || hasOwner || !('uid' in driver.options)) return wanted;
    const root = await this.#options.mappedRoot?.(signal);
    if (root === undefined) return wanted;
    return { ...wanted, options: { ...options, uid: `${root.uid}`, gid: `${root.gid}` } };
  }

  async #copySource(
    { volume, snapshot }: VolumeSource,
    driver: VolumeDriver,
    context: CallContext,
  ): Promise<CopySource> {
    const { record } = await this.#work.read(volume);
    const source = this.#work.live(record);
    if (snapshot === undefined) return { record, source, kind: copyKindOf(driver, context) };
    const { kind } = findSnapshot(record, snapshot);
    return { record, source: { ...source, snapshot }, kind };
  }
}

function refuseSnapshots({ name, snapshots: [first, ...others] }: VolumeRecord): void {
  if (!first) return;
  const names = [first, ...others].map((snapshot) => `${name}@${snapshot.name}`);
  throw new InUseError(
    `volume ${name} has snapshots: ${names.join(', ')}; remove them first with ` +
      `"berth snapshot rm ${names[0]}"`,
  );
}
