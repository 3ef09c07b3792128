import type { Lock } from '../../lock/lock.ts';
import type { Ticket } from '../../lock/ticket.ts';
import type { UseLocker } from '../../lock/use/use.ts';
import { lockName } from '../../lock/use/use.ts';
import type { DriverUsage } from '../drivers/driver.ts';
import type { NotFoundError } from '../errors.ts';
import { InUseError, InvalidRequestError } from '../errors.ts';
import { recordKey } from '../records/catalog.ts';
import type { LastUses } from '../records/last-uses.ts';
import type {
  CallContext,
  CreateRequest,
  UnreadableVolume,
  VolumeService,
  VolumeView,
} from '../service.ts';
import type { Changeable, Snapshot, VolumeRecord, VolumeSource } from '../volume.ts';
import { checkNewVolumeName, checkSnapshotName, checkVolumeName } from '../volume.ts';
import { refuseForSnapshot } from './copies-in-use.ts';
import { EarlyLook } from './early-look.ts';
import type { Fencing } from './fencing.ts';
import { refuseMounted, translated } from './lock-refusals.ts';
import { locks } from './lock-table.ts';
import type { MountingOptions } from './mounting.ts';
import { Mounting } from './mounting.ts';
import { RuleChanges } from './rule-changes.ts';
import type { DefaultAccess, NewVolume } from './volume-options.ts';
import { newCopy, newVolume, sourceOf } from './volume-options.ts';

export interface LockedVolumesOptions extends MountingOptions {
  readonly fencing: Pick<Fencing, 'of'>;
  readonly lastUses: Pick<LastUses, 'of'>;
  /** The driver of volumes that don't name one. */
  readonly defaultDriver: string;
  /** The access of volumes that don't name one, by driver. */
  readonly defaultAccess?: DefaultAccess | undefined;
}

/** Every operation on volumes, each under its locks. */
export class LockedVolumes implements VolumeService {
  readonly #options: LockedVolumesOptions;
  readonly #mounting: Mounting;
  readonly #ruleChanges: RuleChanges;

  constructor(options: LockedVolumesOptions) {
    this.#options = options;
    this.#mounting = new Mounting(options);
    this.#ruleChanges = new RuleChanges(options);
  }

  async create({ name, options }: CreateRequest, given: CallContext): Promise<void> {
    const wanted = this.#wanted(name, options);
    const context = wanted.isLive ? { ...given, inUse: { ...given.inUse, isLive: true } } : given;
    const existing = this.#known(name);
    if (existing) return wanted.checkSame(existing);
    checkNewVolumeName(name);
    const look = this.#lookAt(name, wanted.driver);
    const create = (lock: Lock) => this.#options.volumes.create(wanted, lock, look, context);
    if (wanted.source) await this.#copying(wanted, wanted.source, context, create);
    else await this.#during(locks.create(name), context, create);
  }

  async copy(source: VolumeSource, target: string, context: CallContext): Promise<void> {
    checkVolumeName(source.volume);
    if (source.snapshot !== undefined) checkSnapshotName(source.snapshot);
    checkNewVolumeName(target);
    const record = this.#get(source.volume);
    const driver = this.#options.volumes.driver(record.driver);
    const wanted = newCopy(target, {}, source, record, driver);
    const look = this.#lookAt(target, wanted.driver);
    await this.#copying(wanted, source, context, (lock) =>
      this.#options.volumes.copy(wanted, lock, look, context),
    );
  }

  async remove(name: string, context: CallContext): Promise<void> {
    const look = this.#lookAt(name, this.#get(name).driver);
    await this.#during(
      locks.remove(name),
      context,
      (lock) => this.#options.volumes.remove(name, lock, look, context),
      refuseMounted(name, 'it can only be removed when nobody uses it'),
    );
  }

  mount(name: string, mountId: string, context: CallContext): Promise<string> {
    return this.#mounting.mount(name, mountId, context);
  }

  async unmount(name: string, mountId: string, _context: CallContext): Promise<void> {
    const { mounts, mutex } = this.#options;
    await mutex.run(name, async () => {
      const row = mounts.get(name);
      if (row) await mounts.unuse(row, mountId);
    });
  }

  set(
    name: string,
    options: Readonly<Record<string, string>>,
    context: CallContext,
  ): Promise<Changeable> {
    return this.#ruleChanges.set(name, options, context);
  }

  get(name: string): VolumeView | undefined {
    const record = this.#options.catalog.get(name);
    return record && this.#view(record);
  }

  list(): readonly VolumeView[] {
    return this.#options.catalog.list().map((record) => this.#view(record));
  }

  unreadable(): readonly UnreadableVolume[] {
    return this.#options.catalog.unreadable().map(({ name, error: { key, isNewer, why } }) => ({
      ...(name !== undefined && { name }),
      ...{ key, isNewer, why },
    }));
  }

  async snapshot(source: VolumeSource, context: CallContext): Promise<Snapshot> {
    const { volume } = source;
    const name = source.snapshot ?? snapshotNameFor(this.#options.clock.date());
    checkSnapshotName(name);
    return this.#still(volume, context, (quiet) =>
      this.#during(
        locks.snapshot(volume, quiet),
        context,
        (lock) => this.#options.volumes.snapshots.take(volume, name, lock, context),
        refuseMounted(volume, 'take the snapshot on that host, whose containers can stand still'),
      ),
    );
  }

  async resize(name: string, size: string, context: CallContext): Promise<void> {
    const { volumes } = this.#options;
    await this.#still(name, context, (quiet) =>
      this.#during(
        locks.resize(name, quiet),
        context,
        (lock) => volumes.resize(name, size, lock, context),
        refuseMounted(name, 'resize it on that host'),
      ),
    );
  }

  async rename(name: string, to: string, context: CallContext): Promise<void> {
    checkVolumeName(name);
    checkNewVolumeName(to);
    if (name === to) throw new InvalidRequestError(`volume ${name} has that name already`);
    const { volumes, catalog } = this.#options;
    if (!catalog.get(to)) this.#get(name);
    const refusals = [name, to].map((each) =>
      refuseMounted(each, 'stop the containers that use it first'),
    );
    await this.#during(
      locks.rename(name, to),
      context,
      (lock) => volumes.renames.rename(name, to, lock, context),
      (blockers) => {
        for (const refuse of refusals) refuse(blockers);
      },
    );
  }

  async removeSnapshot(source: Required<VolumeSource>, context: CallContext): Promise<void> {
    this.#get(source.volume);
    await this.#during(locks.prune(source.volume), context, (lock) =>
      this.#options.volumes.snapshots.remove(source, lock, context),
    );
  }

  async restoreSnapshot(source: Required<VolumeSource>, context: CallContext): Promise<void> {
    this.#get(source.volume);
    await this.#during(
      locks.restore(source.volume),
      context,
      (lock) => this.#options.volumes.snapshots.restore(source, lock, context),
      refuseMounted(source.volume, 'stop the containers that use it before restoring'),
    );
  }

  async usage(name: string): Promise<DriverUsage> {
    const record = this.#get(name);
    const mountpoint = this.#options.mounts.get(name)?.mountpoint;
    return this.#options.volumes.driver(record.driver).usage(record, mountpoint);
  }

  #wanted(name: string, options: Readonly<Record<string, string>>): NewVolume {
    checkVolumeName(name);
    const { volumes, defaultDriver } = this.#options;
    const source = sourceOf(options);
    if (source) {
      const record = this.#get(source.volume);
      return newCopy(name, options, source, record, volumes.driver(record.driver));
    }
    const existing = this.#known(name);
    const driver = volumes.driver(options.driver ?? existing?.driver ?? defaultDriver);
    return newVolume(name, options, driver, this.#options.defaultAccess);
  }

  async #copying(
    wanted: NewVolume,
    source: VolumeSource,
    context: CallContext,
    work: (lock: Lock) => Promise<void>,
  ): Promise<void> {
    refuseForSnapshot(source, context);
    const isLive = source.snapshot === undefined;
    const run = (quiet: boolean) =>
      this.#during(
        locks.copy(source.volume, wanted.name, quiet),
        context,
        work,
        refuseMounted(source.volume, 'copy a snapshot of it, or copy it on that host'),
      );
    await (isLive ? this.#still(source.volume, context, run) : run(false));
  }

  /**
   * Runs work on a volume that may be in use, such as a copy. Where the volume is mounted, it is neither mounted
   * nor unmounted meanwhile; a hold limit or a freeze keeps that short. Where it is not, `quiet` asks for
   * its mount lock, so that a Mount waits for the lock and says for whom. Neither, if the caller and the driver
   * let it be written to meanwhile.
   */
  async #still<T>(
    volume: string,
    { inUse }: CallContext,
    work: (quiet: boolean) => Promise<T>,
  ): Promise<T> {
    const { volumes, mounts, mutex } = this.#options;
    const { capabilities } = volumes.driver(this.#get(volume).driver);
    if (!capabilities.copyNeedsQuiet && inUse?.isLive) return work(false);
    const isHere = () => mounts.get(volume) !== undefined;
    if (!isHere()) {
      try {
        return await work(true);
      } catch (error) {
        // A Mount on this host has come first.
        if (!(error instanceof InUseError) || !isHere()) throw error;
      }
    }
    return mutex.run(volume, () => work(!isHere()));
  }

  /** Begins to look at what storage of that name needs, unless the store is away, which says more. */
  #lookAt(name: string, driver: string): EarlyLook<boolean> {
    const { volumes, clock, mirror } = this.#options;
    const look = new EarlyLook(clock, (its) => volumes.requireInPlace(name, its));
    if (mirror.isLive) void look.begin(driver);
    return look;
  }

  /** Runs `work` under locks, whose grant reads the record of the first use's volume. */
  #during<T>(
    uses: readonly UseLocker[],
    { signal, onWait }: CallContext,
    work: (lock: Lock) => Promise<T>,
    refuse?: (blockers: readonly Ticket[]) => void,
  ): Promise<T> {
    const refuseOrReport = (blockers: readonly Ticket[]) => {
      refuse?.(blockers);
      onWait?.(blockers);
    };
    const [first] = uses;
    const volume = first?.volume ?? '';
    const options = { signal, onWait: refuseOrReport, read: recordKey(volume) };
    return translated(volume, () =>
      this.#options.locks.executeWithMultiUseLock(uses, options, work),
    );
  }

  notFound(name: string): NotFoundError {
    return this.#options.catalog.notFound(name);
  }

  #get(name: string): VolumeRecord {
    const record = this.#options.catalog.get(name);
    if (record) return record;
    throw this.notFound(name);
  }

  /** Reads the record from the mirror, before any lock is acquired; undefined if it can't be known. */
  #known(name: string): VolumeRecord | undefined {
    try {
      return this.#options.catalog.get(name);
    } catch {
      return undefined; // The store is away; acquiring the lock will fail and say so.
    }
  }

  #view(record: VolumeRecord): VolumeView {
    const row = this.#options.mounts.get(record.name);
    const mountTickets = this.#options.mirror.ticketsOn(lockName('mount', record.name));
    const isUsed = row !== undefined || mountTickets.some(({ kind }) => kind === 'mount');
    return {
      record,
      fencing: this.#options.fencing.of(record),
      mountTickets,
      lastUse: isUsed ? { is: 'now' } : this.#options.lastUses.of(record),
      gates: this.#options.locks.gates(record.name),
      ...(row
        ? { mounted: { mountpoint: row.mountpoint, mountIds: [...row.mountIds.keys()] } }
        : {}),
    };
  }
}

/** Returns a name such as `20260131T093000.123Z`, which sorts by time. */
function snapshotNameFor(now: Date): string {
  return now.toISOString().replaceAll(/[-:]/g, '');
}
