import createDebug from 'debug';
import { isMountpoint } from '../../linux/mountinfo.ts';
import type { Condition } from '../../lock/condition.ts';
import type { KeptLock, KeptLockState } from '../../lock/use/kept-lock.ts';
import { never } from '../../running/never.ts';

import { InUseError, UnavailableError } from '../errors.ts';
import type { CallContext } from '../service.ts';
import type { VolumeRecord } from '../volume.ts';
import {
  driverOf,
  oneMore,
  unconfirmed,
  unconfirmedIdsOf,
  volumeOf,
  withUse,
} from './mount-row.ts';
import type { MountRow } from './mount-table.ts';
import type { MountTenuresOptions } from './mount-tenures.ts';
import { MountTenures } from './mount-tenures.ts';
import type { MountedLocks, OnLockChange, Tenure } from './mounted-locks.ts';

const log = createDebug('berth:mount');

export interface HostMountsOptions extends MountTenuresOptions {
  /** Volumes are mounted at `<mountDir>/<name>`. */
  readonly mountDir: string;
}

/**
 * The volumes mounted on this host. Counts per volume and mount ID, because the engine uses one ID
 * for several Mounts (`docker cp` on a running container) and leaves out Unmounts (after its
 * crash). Callers hold the volume's queue, except in `adopt` and `settle`.
 */
export class HostMounts {
  readonly #options: HostMountsOptions;
  readonly #tenures: MountTenures;
  readonly #locks: MountedLocks;

  constructor(options: HostMountsOptions) {
    this.#options = options;
    this.#tenures = new MountTenures(options);
    this.#locks = this.#tenures.locks;
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
    const driver = driverOf(row, this.#options.drivers);
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
      await this.#tenures.takeAway(row, lock.state === 'held').catch((failure) => {
        // `adopt` goes on with it, as with what a crash has left half done.
        this.#locks.take(record.name);
        log('volume=%s could not be taken away again: %s', record.name, failure);
      });
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

  /** As `MountTenures.onLockChange`. */
  onLockChange(volume: string): OnLockChange {
    return this.#tenures.onLockChange(volume);
  }

  /** As `MountTenures.adopt`. */
  adopt(): Promise<boolean> {
    return this.#tenures.adopt();
  }

  /** As `MountTenures.evict`. */
  evict(volume: string, token: number, by: string): Promise<void> {
    return this.#tenures.evict(volume, token, by);
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

  async #mountAgain(row: MountRow, signal: AbortSignal): Promise<void> {
    const driver = driverOf(row, this.#options.drivers);
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
      await driverOf(row, this.#options.drivers).unmount(volumeOf(row), mountpoint, {
        signal: never,
      });
      log('unmounted volume=%s', volume);
    } catch (error) {
      // The engine only logs this and never asks again, so it is settled by the reconciler, or by
      // the container's next start, which comes with the same ID.
      await this.#options.table.update(unconfirmed(row));
      throw error;
    }
    await this.#forget(row);
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
    if (row.onLost === 'keep' || !driverOf(row, this.#options.drivers).capabilities.ownsFileSystem)
      return;
    this.#locks.require(row.volume);
  }
}
