import createDebug from 'debug';
import { LockError } from '../lock/errors.ts';
import type { KeptLock, KeptLockState } from '../lock/kept-lock.ts';
import type { Condition } from '../lock/stores/ticket-store.ts';
import type { VolumeDriver } from './drivers/driver.ts';
import { isMountpoint } from './drivers/mountinfo.ts';
import { InUseError, InvalidRequestError, UnavailableError } from './errors.ts';
import type { EventSink, VolumeEvent } from './events.ts';
import type { KeyedQueue } from './keyed-queue.ts';
import type { MountGuard } from './mount-guard.ts';
import { oneMore, unconfirmed, unconfirmedIdsOf, volumeOf, withUse } from './mount-row.ts';
import type { MountRow, MountTable } from './mount-table.ts';
import type { MountLocks, OnLockChange, Tenure } from './mounted-locks.ts';
import { MountedLocks } from './mounted-locks.ts';
import type { CallContext } from './service.ts';
import type { VolumeRecord } from './volume.ts';

const log = createDebug('berth:mount');
const never = new AbortController().signal;

export interface HostMountsOptions {
  readonly table: MountTable;
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  /** One task per volume at a time: mounts and unmounts of a volume never interleave. */
  readonly queue: KeyedQueue;
  readonly locks: MountLocks;
  /** Volumes are mounted at `<mountDir>/<name>`. */
  readonly mountDir: string;
  readonly bootId: string;
  /** Is told what happens to mounts without anybody asking for it. */
  readonly guard: MountGuard;
  readonly events: EventSink;
}

/**
 * The volumes mounted on this host. Counts per volume and mount ID, because the engine uses one ID
 * for several Mounts (`docker cp` on a running container) and leaves out Unmounts (after its
 * crash). Callers hold the volume's queue, except in `adopt` and `settle`.
 */
export class HostMounts {
  readonly #options: HostMountsOptions;
  readonly #locks = new MountedLocks();
  readonly #complaints = new Map<string, string>();

  constructor(options: HostMountsOptions) {
    this.#options = options;
  }

  get(volume: string): MountRow | undefined {
    return this.#options.table.get(volume);
  }

  rows(): MountRow[] {
    return this.#options.table.rows();
  }

  /** What is wrong with the table of mounts. */
  conditions(): Condition[] {
    const { problem } = this.#options.table;
    return problem === undefined ? [] : [{ severity: 'error', message: problem }];
  }

  mountpoint(volume: string): string {
    return `${this.#options.mountDir}/${volume}`;
  }

  /** `held` only while this host can prove that the volume is its own. */
  lockState(volume: string): KeptLockState {
    return this.#locks.state(volume);
  }

  /** Whether those who use the volume here may go on. */
  tenure(volume: string): Tenure {
    return this.#locks.tenure(volume);
  }

  /**
   * One more use of a volume that is mounted here already: local, with no word to the store.
   * An ID that is known always succeeds (an error would make older engines unmount the volume
   * under its container), unless the mount itself is gone.
   */
  async use(row: MountRow, mountId: string, { signal }: CallContext): Promise<string> {
    const known = row.mountIds[mountId];
    if (!known) this.#refuseSecondContainer(row);
    const isMounted = await isMountpoint(row.mountpoint);
    if (!known || !isMounted) this.#locks.require(row.volume);
    if (!isMounted) await this.#mountAgain(row, signal);
    const used = withUse(row, mountId, await oneMore(row, mountId));
    if (known) await this.#options.table.update(used);
    else await this.#options.table.put(used);
    this.#options.guard.changed(); // One more container uses it soon.
    return row.mountpoint;
  }

  /** Mounts a volume under its lock. When it rejects, nothing is mounted; the caller unlocks. */
  async mount(
    record: VolumeRecord,
    mountId: string,
    lock: KeptLock,
    { signal }: CallContext,
  ): Promise<string> {
    const row: MountRow = {
      volume: record.name,
      driver: record.driver,
      options: record.options,
      access: record.access,
      failover: record.failover,
      onLost: record.onLost,
      mountpoint: this.mountpoint(record.name),
      ticket: lock.ticket,
      ...(record.access === 'shared' ? {} : { tenure: lock.ticket.nonce }),
      bootId: this.#options.bootId,
      mountIds: {},
    };
    const driver = this.#driver(row);
    // Written down first: after a crash in between, the next start takes the mount away again.
    await this.#options.table.put(row);
    this.#locks.set(record.name, lock);
    try {
      await this.#options.guard.guard();
      await driver.mount(volumeOf(row), row.mountpoint, { signal });
      signal.throwIfAborted();
      if (lock.state !== 'held') {
        throw new UnavailableError(`lost the lock on volume ${record.name} while mounting it`);
      }
      await this.#options.table.put(withUse(row, mountId, { count: 1, confirmed: true }));
    } catch (error) {
      await this.#takeAway(row, lock.state === 'held');
      throw error;
    }
    log('mounted volume=%s token=%d id=%s', row.volume, lock.token, mountId);
    return row.mountpoint;
  }

  /** One use less; the last one unmounts and releases the lock. */
  async unuse(row: MountRow, mountId: string): Promise<void> {
    const known = row.mountIds[mountId];
    if (!known) return;
    if (known.count > 1) {
      const left = { ...known, count: known.count - 1 };
      await this.#options.table.update(withUse(row, mountId, left));
      return;
    }
    await this.#dropIds(row, [mountId]);
  }

  /** What happens when the lock of a volume mounted here changes. */
  onLockChange(volume: string): OnLockChange {
    return (state) => {
      if (state !== 'released') this.#options.guard.changed();
      if (state !== 'lost') return;
      void this.#options.queue.run(volume, async () => {
        const row = this.get(volume);
        if (!row) return;
        this.#locks.take(volume);
        await this.#relock(row).catch((error) => log('volume=%s: %s', volume, error));
      });
    };
  }

  /**
   * Finds the lock of each mount that has none: after a start of this daemon, which takes over the
   * mounts of the one before, when the store was away just as a lock was lost, and when the volume
   * was disabled then. A volume whose lock is gone is fenced. What a crash left half done is undone;
   * a bad volume never stops the others. False: the store was away for some. Repeat it then, and
   * from time to time.
   */
  async adopt(): Promise<boolean> {
    let isComplete = true;
    const missing = (row: MountRow) => this.#locks.isMissing(row.volume) || this.#isToBeFenced(row);
    for (const { volume } of this.rows().filter(missing)) {
      await this.#options.queue.run(volume, async () => {
        const row = this.get(volume);
        if (!row || !missing(row)) return;
        try {
          if (this.#isToBeFenced(row)) await this.#fence(row);
          else await this.#adoptOne(row);
        } catch (error) {
          if (error instanceof LockError || error instanceof UnavailableError) isComplete = false;
          this.#failedToAdopt(volume, error);
        }
      });
    }
    return isComplete;
  }

  /**
   * Lets go of a volume although it is in use here, because an operator (`by`) cleared its lock:
   * ends the containers that use it, unmounts it, and only then releases the lock, which the token
   * names. Not mounted under that lock, or not to be fenced: does nothing.
   */
  async evict(volume: string, token: number, by: string): Promise<void> {
    await this.#options.queue.run(volume, async () => {
      const row = this.get(volume);
      if (row?.ticket.token !== token || row.onLost === 'keep') return;
      if (this.#locks.tenure(volume) !== 'held') return; // It is fenced, or will be.
      this.#locks.evict(volume);
      const message = `${by} cleared its lock while it was mounted here: ending its containers`;
      this.#record('error', 'evicted', row, message);
      await this.#fence(row);
    });
  }

  /**
   * What the engine knew of the mounts of these volumes may be gone: each of their IDs counts once
   * until the engine repeats it. Called when the engine has been restarted, and for volumes that
   * no container uses when this daemon starts.
   */
  async unconfirm(volumes: readonly string[]): Promise<void> {
    // Queued at once for all: a Mount that comes after this call is seen after it.
    await Promise.all(
      volumes.map((volume) =>
        this.#options.queue.run(volume, async () => {
          const row = this.get(volume);
          if (row) await this.#options.table.update(unconfirmed(row));
        }),
      ),
    );
  }

  /** The same for those that have not been mounted or unmounted since these rows were read. */
  async doubt(rows: readonly MountRow[]): Promise<void> {
    for (const { volume, mountIds } of rows) {
      await this.#options.queue.run(volume, async () => {
        const row = this.get(volume);
        if (row?.mountIds === mountIds) await this.#options.table.update(unconfirmed(row));
      });
    }
  }

  hasUnconfirmed(): boolean {
    return this.rows().some((row) => unconfirmedIdsOf(row).length > 0);
  }

  /**
   * Drops uses whose Unmount will never come. False: the volume was mounted or unmounted since this
   * row was read, and nothing is dropped. Rejects when it can't be unmounted.
   */
  settle({ volume, mountIds }: MountRow, ids: readonly string[]): Promise<boolean> {
    return this.#options.queue.run(volume, async () => {
      const row = this.get(volume);
      if (row?.mountIds !== mountIds) return false;
      await this.#dropIds(row, ids);
      return true;
    });
  }

  async #adoptOne(row: MountRow): Promise<void> {
    const { volume } = row;
    const wasInProgress = Object.keys(row.mountIds).length === 0;
    const lock = await this.#options.locks.resume(row, this.onLockChange(volume));
    if (lock) this.#locks.set(volume, lock);
    if (wasInProgress || row.bootId !== this.#options.bootId) {
      const message = wasInProgress
        ? 'its mount was interrupted: undone'
        : 'this host was restarted while it was mounted: the mount is gone, and its lock let go';
      this.#record('info', 'dropped', row, message);
      await this.#takeAway(row, lock !== undefined);
      await lock?.unlock();
      return;
    }
    if (!lock) await this.#relock(row);
    const current = this.get(volume);
    if (!current) return; // Fenced.
    await this.#adoptMount(current);
    if (!lock) return;
    this.#record('info', 'adopted', row, 'adopted from the process before, with its lock');
  }

  /** Tried again, and told once. */
  #failedToAdopt(volume: string, error: unknown): void {
    const message = `could not be settled, and is tried again: ${messageOf(error)}`;
    log('volume=%s %s', volume, message);
    if (this.#complaints.get(volume) === message) return;
    this.#complaints.set(volume, message);
    this.#options.events.record({ severity: 'error', kind: 'failed', volume, message });
  }

  async #adoptMount(row: MountRow): Promise<void> {
    if (await isMountpoint(row.mountpoint)) {
      await this.#driver(row).recover(row.mountpoint, { signal: never });
      return;
    }
    // An engine that restarts or disables a managed plugin takes its mounts away. Containers may
    // still have theirs, so the lock is kept until it is known that none does.
    await this.#options.table.update(unconfirmed(row));
    log('volume=%s is not mounted any more: keeping its lock', row.volume);
  }

  /**
   * The lock of a volume mounted here is gone. It is taken again if nobody has asked for it since;
   * else somebody may have written to the volume, and it is fenced. One with `on-lost=keep` is taken
   * again whenever it can be had.
   */
  async #relock(row: MountRow): Promise<void> {
    const { volume } = row;
    const lock = await this.#locks.retake(volume, () =>
      this.#options.locks.reacquire(row, this.onLockChange(volume)),
    );
    if (lock) {
      const locked = { ...(this.get(volume) ?? row), ticket: lock.ticket };
      await this.#options.table.put(locked);
      const message = 'its lock had ended while it was mounted here, and is taken again';
      this.#record('warning', 'relocked', locked, message);
    } else if (this.#isToBeFenced(row)) {
      const message =
        'its lock has ended while it was mounted here, and another host may have it: ending the ' +
        'containers that use it';
      this.#record('error', 'lost', row, message);
      await this.#fence(row);
    }
    this.#options.guard.changed();
  }

  #isToBeFenced({ volume, onLost }: MountRow): boolean {
    return onLost !== 'keep' && ['lost', 'evicted'].includes(this.#locks.tenure(volume));
  }

  /** Sees to it that nothing here uses a volume that is, or will be, another host's. */
  async #fence(row: MountRow): Promise<void> {
    const { volume } = row;
    await this.#options.guard.end(volume);
    const lock = this.#locks.get(volume);
    await this.#takeAway(row, lock?.state === 'held');
    await lock?.unlock();
    const message =
      'no container here uses it any more, and it is unmounted; one that is started again waits ' +
      'for the lock like any other';
    this.#record('error', 'fenced', row, message);
  }

  async #mountAgain(row: MountRow, signal: AbortSignal): Promise<void> {
    const driver = this.#driver(row);
    await driver.mount(volumeOf(row), row.mountpoint, { signal });
    try {
      signal.throwIfAborted();
      this.#locks.require(row.volume);
    } catch (error) {
      await driver.unmount(volumeOf(row), row.mountpoint, { signal: never });
      throw error;
    }
    log('mounted again volume=%s', row.volume);
  }

  #refuseSecondContainer({ volume, access }: MountRow): void {
    if (access !== 'container') return;
    throw new InUseError(
      `volume ${volume} has access=container and a container on this host already uses it`,
    );
  }

  /** Removes uses; with the last one the volume is unmounted and its lock released. */
  async #dropIds(row: MountRow, ids: readonly string[]): Promise<void> {
    const mountIds = { ...row.mountIds };
    for (const id of ids) delete mountIds[id];
    if (Object.keys(mountIds).length > 0) {
      await this.#options.table.update({ ...row, mountIds });
      return;
    }
    try {
      const { volume, mountpoint } = row;
      this.#requireLastWrite(row);
      await this.#driver(row).unmount(volumeOf(row), mountpoint, { signal: never });
      log('unmounted volume=%s', volume);
    } catch (error) {
      // The engine only logs this and never asks again, so it is settled by the reconciler, or by
      // the container's next start, which comes with the same ID.
      await this.#options.table.update(unconfirmed(row));
      throw error;
    }
    await this.#forget(row);
  }

  /**
   * Unmounts what is not in use, whatever of it is there. What is not ours any more is taken away
   * without a last write.
   */
  async #takeAway(row: MountRow, isOurs: boolean): Promise<void> {
    const driver = this.#driver(row);
    const volume = volumeOf(row);
    if (isOurs) await driver.unmount(volume, row.mountpoint, { signal: never });
    else await driver.abandon(volume, row.mountpoint, { signal: never });
    this.#locks.take(row.volume);
    await this.#options.table.delete(row.volume);
    this.#options.guard.changed();
  }

  async #forget({ volume }: MountRow): Promise<void> {
    const lock = this.#locks.take(volume);
    await this.#options.table.delete(volume);
    this.#options.guard.changed();
    await lock?.unlock();
  }

  /**
   * The last unmount of a volume with a file system of its own writes to it, which may be another
   * host's by now. It is repeated when that is known.
   */
  #requireLastWrite(row: MountRow): void {
    if (row.onLost === 'keep' || !this.#driver(row).capabilities.ownsFileSystem) return;
    this.#locks.require(row.volume);
  }

  #record(severity: VolumeEvent['severity'], kind: string, row: MountRow, message: string): void {
    const { volume, ticket } = row;
    this.#options.events.record({ severity, kind, volume, message, token: ticket.token });
  }

  #driver(row: MountRow): VolumeDriver {
    const driver = this.#options.drivers.get(row.driver);
    if (driver) return driver;
    throw new InvalidRequestError(`volume ${row.volume} needs the driver ${row.driver}`);
  }
}

function messageOf(error: unknown): string {
  return Error.isError(error) ? error.message : String(error);
}
