import type { StoreMirror } from '../../lock/engine/store-mirror.ts';
import type { Lock } from '../../lock/lock.ts';
import type { Ticket } from '../../lock/ticket.ts';
import type { LockService } from '../../lock/use/lock-service.ts';
import type { UseLocker } from '../../lock/use/use.ts';
import { lockName } from '../../lock/use/use.ts';
import type { Clock } from '../../running/clock.ts';
import type { DriverUsage } from '../drivers/driver.ts';
import { NotFoundError, UnavailableError } from '../errors.ts';
import type { FoundMounts } from '../mounts/found-mounts.ts';
import type { KeyedMutex } from '../mounts/keyed-mutex.ts';
import type { MountRecovery } from '../mounts/mount-recovery.ts';
import { checkMountId } from '../mounts/mount-row.ts';
import type { Mounts } from '../mounts/mounts.ts';
import type { Catalog } from '../records/catalog.ts';
import { mountMarkKey, recordKey } from '../records/catalog.ts';
import type { Claimant } from '../records/claims.ts';
import { claimKey, claimPrefix, claimText } from '../records/claims.ts';
import type { CallContext, CreateRequest, VolumeService, VolumeView } from '../service.ts';
import type { Snapshot, VolumeRecord, VolumeSource } from '../volume.ts';
import { checkSnapshotName, checkVolumeName } from '../volume.ts';
import type { Fencing } from './fencing.ts';
import { disabledBy, refuseMounted, translated } from './lock-refusals.ts';
import { locks } from './lock-table.ts';
import type { Takeovers } from './takeovers.ts';
import type { NewVolume } from './volume-options.ts';
import { newCopy, newVolume, sourceOf } from './volume-options.ts';
import type { Volumes } from './volumes.ts';

/** A Mount looks at the pool again if its wait for the lock has taken this long: it may have gone. */
const freshMs = 500;

export interface LockedVolumesOptions {
  readonly volumes: Volumes;
  readonly locks: LockService;
  readonly catalog: Catalog;
  readonly mirror: StoreMirror;
  readonly mounts: Mounts;
  readonly found: Pick<FoundMounts, 'refuse'>;
  readonly recovery: Pick<MountRecovery, 'onLockChange'>;
  readonly takeovers: Pick<Takeovers, 'before'>;
  readonly fencing: Pick<Fencing, 'of'>;
  /** This host, as its claims name it. */
  readonly claimant: Claimant;
  readonly mutex: KeyedMutex;
  readonly clock: Clock;
  /** The driver of volumes that don't name one. */
  readonly defaultDriver: string;
  /** How long a Mount waits for the lock, including its wait for other Mounts of the volume. */
  readonly lockTimeoutMs: number;
}

/** Every operation on volumes, each under its locks. */
export class LockedVolumes implements VolumeService {
  readonly #options: LockedVolumesOptions;

  constructor(options: LockedVolumesOptions) {
    this.#options = options;
  }

  async create({ name, options }: CreateRequest, context: CallContext): Promise<void> {
    const wanted = this.#wanted(name, options);
    const existing = this.#known(name);
    if (existing) return wanted.checkSame(existing);
    const create = (lock: Lock) => this.#options.volumes.create(wanted, lock, context);
    if (wanted.source) await this.#copying(wanted, wanted.source, context, create);
    else await this.#during(locks.create(name), context, create);
  }

  async copy(source: VolumeSource, target: string, context: CallContext): Promise<void> {
    checkVolumeName(source.volume);
    if (source.snapshot !== undefined) checkSnapshotName(source.snapshot);
    const record = this.#get(source.volume);
    const driver = this.#options.volumes.driver(record.driver);
    const wanted = newCopy(target, {}, source, record, driver);
    await this.#copying(wanted, source, context, (lock) =>
      this.#options.volumes.copy(wanted, lock, context),
    );
  }

  async remove(name: string, context: CallContext): Promise<void> {
    this.#get(name);
    await this.#during(
      locks.remove(name),
      context,
      (lock) => this.#options.volumes.remove(name, lock, context),
      refuseMounted(name, 'it can only be removed when nobody uses it'),
    );
  }

  async mount(name: string, mountId: string, context: CallContext): Promise<string> {
    const { mounts, found, recovery, mutex, catalog, takeovers, clock } = this.#options;
    const { lockTimeoutMs } = this.#options;
    const end = clock.now() + lockTimeoutMs;
    return mutex.run(name, async () => {
      const row = mounts.get(name);
      const isKnown = row?.mountIds.has(mountId) ?? false;
      if (!isKnown) checkMountId(mountId);
      if (row) {
        // One more user acquires no lock, so nothing but this checks the gates.
        const gates = isKnown ? [] : this.#options.locks.gates(name);
        if (gates.length > 0) throw disabledBy(gates);
        return translated(name, () => mounts.use(row, mountId, context));
      }
      const { access, failover, driver } = this.#get(name);
      await found.refuse(name);
      // Before the lock: to another host, a request for the lock counts as a use of the volume.
      const lookedAt = this.#options.mirror.isLive ? clock.now() : Number.NEGATIVE_INFINITY;
      if (this.#options.mirror.isLive) {
        await translated(name, () => this.#options.volumes.requirePool({ driver }));
      }
      const lock = await translated(name, () =>
        this.#options.locks.acquireWithTTLRefresh(locks.mount(name, access), {
          signal: context.signal,
          // The time in the mutex counts, or the last of many Mounts would wait for all before it.
          timeoutMs: Math.max(0, Math.round(end - clock.now())),
          detail: `mount ID ${mountId.slice(0, 12)}`,
          expires: failover === 'auto',
          ...(access === 'shared' ? {} : { mark: mountMarkKey(name), claim: this.#claim(name) }),
          read: recordKey(name),
          readBelow: claimPrefix(name),
          ...(context.onWait ? { onWait: context.onWait } : {}),
          onChange: recovery.onLockChange(name),
        }),
      );
      try {
        // Another host may have removed the volume after the mirror was read.
        const entry = catalog.entry(lock.read?.record);
        if (!entry) throw new NotFoundError(`no such volume: ${name}`);
        if (entry.record.access !== access || entry.record.failover !== failover) {
          throw new UnavailableError(
            `volume ${name} was removed and created again while this Mount waited; try again`,
          );
        }
        return await translated(name, async () => {
          const isFresh = clock.now() - lookedAt < freshMs && entry.record.driver === driver;
          if (!isFresh) await this.#options.volumes.requirePool(entry.record);
          await takeovers.before(entry.record, lock, context);
          return await mounts.mount(entry.record, mountId, lock, context);
        });
      } catch (error) {
        // A row that is left is a mount that could not be undone: its claim stands until it is.
        const isUnmounted = mounts.get(name) === undefined;
        await lock.unlock({ claim: isUnmounted ? claimKey(name, lock.ticket.nonce) : undefined });
        throw error;
      }
    });
  }

  async unmount(name: string, mountId: string, _context: CallContext): Promise<void> {
    const { mounts, mutex } = this.#options;
    await mutex.run(name, async () => {
      const row = mounts.get(name);
      if (row) await mounts.unuse(row, mountId);
    });
  }

  get(name: string): VolumeView | undefined {
    const record = this.#options.catalog.get(name);
    return record && this.#view(record);
  }

  list(): readonly VolumeView[] {
    return this.#options.catalog.list().map((record) => this.#view(record));
  }

  async snapshot(source: VolumeSource, context: CallContext): Promise<Snapshot> {
    const { volume } = source;
    const name = source.snapshot ?? snapshotNameFor(this.#options.clock.date());
    checkSnapshotName(name);
    return this.#still(volume, (quiet) =>
      this.#during(
        locks.snapshot(volume, quiet),
        context,
        (lock) => this.#options.volumes.snapshot(volume, name, lock, context),
        refuseMounted(volume, 'take the snapshot on that host, which can freeze it'),
      ),
    );
  }

  async removeSnapshot(source: Required<VolumeSource>, context: CallContext): Promise<void> {
    this.#get(source.volume);
    await this.#during(locks.prune(source.volume), context, (lock) =>
      this.#options.volumes.removeSnapshot(source, lock, context),
    );
  }

  async restoreSnapshot(source: Required<VolumeSource>, context: CallContext): Promise<void> {
    this.#get(source.volume);
    await this.#during(
      locks.restore(source.volume),
      context,
      (lock) => this.#options.volumes.restoreSnapshot(source, lock, context),
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
    return newVolume(name, options, driver);
  }

  #copying(
    wanted: NewVolume,
    source: VolumeSource,
    context: CallContext,
    work: (lock: Lock) => Promise<void>,
  ): Promise<void> {
    const isLive = source.snapshot === undefined;
    const run = (quiet: boolean) =>
      this.#during(
        locks.copy(source.volume, wanted.name, quiet),
        context,
        work,
        refuseMounted(source.volume, 'copy a snapshot of it, or copy it on that host'),
      );
    return isLive ? this.#still(source.volume, run) : run(false);
  }

  /**
   * Runs a live copy of a volume. If its driver needs quiet, the volume is neither mounted nor
   * unmounted here during the copy, and `quiet` asks for its mount lock when it is not mounted here.
   */
  #still<T>(volume: string, work: (quiet: boolean) => Promise<T>): Promise<T> {
    const { volumes, mounts, mutex } = this.#options;
    const { capabilities } = volumes.driver(this.#get(volume).driver);
    if (!capabilities.copyNeedsQuiet) return work(false);
    return mutex.run(volume, () => work(mounts.get(volume) === undefined));
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

  #get(name: string): VolumeRecord {
    const record = this.#options.catalog.get(name);
    if (record) return record;
    throw new NotFoundError(`no such volume: ${name}`);
  }

  /** Reads the record from the mirror, before any lock is acquired; undefined if it can't be known. */
  #known(name: string): VolumeRecord | undefined {
    try {
      return this.#options.catalog.get(name);
    } catch {
      return undefined; // The store is away; acquiring the lock will fail and say so.
    }
  }

  #claim(volume: string): { prefix: string; value: string } {
    const { claimant, clock } = this.#options;
    return { prefix: claimPrefix(volume), value: claimText(claimant, clock.date()) };
  }

  #view(record: VolumeRecord): VolumeView {
    const row = this.#options.mounts.get(record.name);
    return {
      record,
      fencing: this.#options.fencing.of(record),
      mountTickets: this.#options.mirror.ticketsOn(lockName('mount', record.name)),
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
