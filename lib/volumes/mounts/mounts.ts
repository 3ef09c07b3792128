import createDebug from 'debug';
import { isShownElsewhere } from '../../linux/mount-namespaces.ts';
import { mountUsers } from '../../linux/mount-users.ts';
import { isMountpoint } from '../../linux/mountinfo.ts';
import type { Condition } from '../../lock/condition.ts';
import type { KeptLockState } from '../../lock/use/kept-lock.ts';
import { allOf } from '../../running/all-of.ts';
import { never } from '../../running/never.ts';
import type { DriverContext, VolumeDriver } from '../drivers/driver.ts';
import { InUseError, UnavailableError } from '../errors.ts';
import type { CallContext } from '../service.ts';
import type { VolumeRecord } from '../volume.ts';
import type { EndInStore } from './end-in-store.ts';
import { endInStore } from './end-in-store.ts';
import type { MountsAt } from './found-mount.ts';
import { foundCondition, kernelMountsAt } from './found-mount.ts';
import type { KeyedMutex } from './keyed-mutex.ts';
import type { MountFence } from './mount-fence.ts';
import { fencedMounts } from './mount-fence.ts';
import {
  driverOf,
  lostId,
  oneMore,
  unconfirmed,
  unconfirmedIdsOf,
  volumeOf,
  withoutUses,
  withUse,
} from './mount-row.ts';
import type { MountLock, MountStates } from './mount-state.ts';
import type { BegunRow, MountRow, MountTable } from './mount-table.ts';

const log = createDebug('berth:mount');

export interface MountsOptions extends EndInStore {
  readonly table: MountTable;
  readonly states: MountStates;
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  /** One task per volume at a time: mounts and unmounts of a volume never interleave. */
  readonly mutex: KeyedMutex;
  /** Volumes are mounted at `<mountDir>/<name>`. */
  readonly mountDir: string;
  readonly bootId: string;
  readonly fence: MountFence;
  readonly mountsAt?: MountsAt | undefined;
}

/** The rules of a mount that can change while it stands, as a record has them. */
export type ChangedRules = Pick<VolumeRecord, 'access' | 'onLost' | 'token'>;

/**
 * Counts the uses of the volumes mounted on this host, per volume and mount ID, because the engine
 * uses one ID for several Mounts (`docker cp` on a running container) and leaves out Unmounts
 * (after its crash). Callers hold the volume's mutex, except in `unconfirm`, `doubt` and `settle`.
 */
export class Mounts {
  readonly #options: MountsOptions;
  readonly #table: MountTable;
  readonly #states: MountStates;
  readonly #mountsAt: MountsAt;
  /** The token of the record whose rules a mount has, by volume. */
  readonly #ruleTokens = new Map<string, number>();

  constructor(options: MountsOptions) {
    this.#options = options;
    this.#mountsAt = options.mountsAt ?? kernelMountsAt;
    this.#table = options.table;
    this.#states = options.states;
  }

  get(volume: string): MountRow | undefined {
    return this.#table.get(volume);
  }

  rows(): MountRow[] {
    return this.#table.rows();
  }

  /** Lists the faults of the mount table, and the mounts that it does not have. */
  conditions(): Condition[] {
    const found = this.#states.found().map((state) => foundCondition(state.found, state.why));
    return [...this.#table.conditions(), ...found];
  }

  mountpoint(volume: string): string {
    return `${this.#options.mountDir}/${volume}`;
  }

  /** `held` only while this host can prove that the volume is its own. */
  lockState(volume: string): KeptLockState {
    return this.#states.lockState(volume);
  }

  /** Throws InUseError if the kernel of this host has the volume mounted, whatever the table says. */
  async requireUnmounted(volume: string): Promise<void> {
    const mountpoint = this.mountpoint(volume);
    if ((await this.#mountsAt(mountpoint)).length === 0) return;
    const users = await mountUsers(mountpoint);
    const who = users.length === 0 ? '' : ` (in use by ${users.join(', ')})`;
    throw new InUseError(
      `volume ${volume} is still mounted at ${mountpoint} on this host${who}, so its storage is ` +
        'not touched; stop what uses it, then unmount it with: berth doctor --fix',
    );
  }

  /**
   * Adds one use of a volume that is mounted here already: local, without a call to the store.
   * A known ID always succeeds (an error would make older engines unmount the volume under its
   * container), unless the mount itself is gone. The caller has asked OneContainer about a new one.
   */
  async use(row: MountRow, mountId: string, { signal }: CallContext): Promise<string> {
    const { volume } = row;
    const known = row.mountIds.get(mountId);
    const isMounted = await isMountpoint(row.mountpoint);
    if (!known || !isMounted) this.#states.requireHeld(volume);
    if (!isMounted) await this.#mountAgain(row, signal);
    const count = await oneMore(row, mountId);
    const used = withUse({ ...row, bootId: this.#options.bootId }, mountId, count);
    if (known) await this.#table.update(used);
    else await this.#table.put(used);
    if (this.#states.get(volume)?.is === 'interrupted') {
      const lock = this.#states.lock(volume);
      this.#states.enter(volume, lock ? { is: 'mounted', lock } : { is: 'unlocked' });
    }
    this.#fenceChanged(volume); // A container that the fence does not know is about to use the volume.
    return row.mountpoint;
  }

  /** Mounts a volume under its lock. When it rejects, nothing is mounted; the caller unlocks. */
  async mount(
    record: VolumeRecord,
    mountId: string,
    lock: MountLock,
    { signal }: CallContext,
  ): Promise<string> {
    const volume = record.name;
    const row: MountRow = {
      volume,
      driver: record.driver,
      options: record.options,
      access: record.access,
      failover: record.failover,
      onLost: record.onLost,
      mountpoint: this.mountpoint(volume),
      ticket: lock.ticket,
      ...(record.access === 'shared' ? {} : { mountMark: lock.ticket.nonce }),
      bootId: this.#options.bootId,
      ...(lock.historyId === undefined ? {} : { history: lock.historyId }),
      mountIds: new Map(),
    };
    const driver = driverOf(row, this.#options.drivers);
    this.#ruleTokens.set(volume, record.token);
    this.#states.enter(volume, { is: 'mounting', lock });
    const begun = await this.#begin(row);
    try {
      await this.#mountFenced(row, driver, { signal, lock });
      signal.throwIfAborted();
      if (lock.state !== 'held') {
        throw new UnavailableError(`lost the lock on volume ${volume} while mounting it`);
      }
      await this.#table.complete(withUse(row, mountId, { count: 1, confirmed: true }), begun);
      this.#states.enter(volume, { is: 'mounted', lock });
    } catch (error) {
      await this.undo(row, lock.state === 'held').catch((failure) => {
        // MountRecovery retries it, like a mount that a crash has left half made.
        this.#states.enter(volume, { is: 'interrupted' });
        log('volume=%s could not be undone: %s', volume, failure);
      });
      throw error;
    }
    log('mounted volume=%s token=%d id=%s', volume, lock.token, mountId);
    return row.mountpoint;
  }

  /**
   * Removes a mount that nobody uses, even a half-made one, with its row and state. A volume that is
   * not this host's any more (`isOurs` is false) is unmounted without writing to its storage.
   */
  async undo(row: MountRow, isOurs: boolean): Promise<void> {
    const driver = driverOf(row, this.#options.drivers);
    const volume = volumeOf(row);
    if (isOurs) await driver.unmount(volume, row.mountpoint, { signal: never });
    else await driver.abandon(volume, row.mountpoint, { signal: never });
    const { synced } = await this.#forget(row);
    this.#fenceChanged(volume.name);
    await synced;
  }

  /** Removes one use; the last one unmounts the volume and releases its lock. */
  async unuse(row: MountRow, mountId: string): Promise<void> {
    const known = row.mountIds.get(mountId);
    if (known && known.count > 1) {
      const left = { ...known, count: known.count - 1 };
      await this.#table.update(withUse(row, mountId, left));
      return;
    }
    const ids = known ? [mountId] : [];
    const { mountIds: left } = withoutUses(row, ids);
    // The ID may be one of the lost ones, or the last beside them.
    const isLast = left.size === 1 && left.has(lostId);
    if (isLast && (await isUnused(row))) ids.push(lostId);
    if (ids.length > 0) await this.#dropIds(row, ids);
  }

  /**
   * Marks each ID of these volumes as unconfirmed, because the engine may have forgotten its mounts:
   * the ID counts once until the engine repeats it. Called when the engine has been restarted.
   */
  async unconfirm(volumes: readonly string[]): Promise<void> {
    // All are queued at once: a Mount that comes after this call runs after it.
    await Promise.all(
      volumes.map((volume) =>
        this.#options.mutex.run(volume, async () => {
          const row = this.get(volume);
          if (row) await this.#table.update(unconfirmed(row));
        }),
      ),
    );
  }

  /** Does the same for those that were not mounted or unmounted since these rows were read. */
  async doubt(rows: readonly MountRow[]): Promise<void> {
    for (const { volume, mountIds } of rows) {
      await this.#options.mutex.run(volume, async () => {
        const row = this.get(volume);
        if (row?.mountIds === mountIds) await this.#table.update(unconfirmed(row));
      });
    }
  }

  /**
   * Gives a mount the changed rules of its record, and tells the fence. A record that is older than the
   * last one is ignored: the mirror may be behind a change that this host has made.
   */
  async changeRules(row: MountRow, record: ChangedRules): Promise<void> {
    const { access, onLost, token } = record;
    if (token < (this.#ruleTokens.get(row.volume) ?? 0)) return;
    this.#ruleTokens.set(row.volume, token);
    if (row.access === access && row.onLost === onLost) return;
    await this.#table.update({ ...row, access, onLost });
    this.#fenceChanged(row.volume);
    log('volume=%s has access=%s on-lost=%s', row.volume, access, onLost);
  }

  hasUnconfirmed(): boolean {
    return this.rows().some((row) => unconfirmedIdsOf(row).length > 0);
  }

  /**
   * Drops uses whose Unmount will never come. False: the volume was mounted or unmounted since this
   * row was read, and nothing is dropped. Rejects when the volume can't be unmounted.
   */
  settle({ volume, mountIds }: MountRow, ids: readonly string[]): Promise<boolean> {
    return this.#options.mutex.run(volume, async () => {
      const row = this.get(volume);
      if (row?.mountIds !== mountIds) return false;
      await this.#dropIds(row, ids);
      return true;
    });
  }

  /** Writes the row first: if this process ends in between, the next start undoes the mount. */
  async #begin(row: MountRow): Promise<BegunRow> {
    try {
      return await this.#table.begin(row);
    } catch (error) {
      this.#states.leave(row.volume);
      throw error;
    }
  }

  /**
   * Mounts a volume of which the fence has to know before anybody may use it. A file system writes to
   * its storage as soon as it is mounted, so there the fence has to know first. A bind mount writes
   * nothing, and nobody knows of it before the Mount is answered, so both are done side by side: if
   * this process ends in between, the row lets the next start undo the mount.
   */
  async #mountFenced(row: MountRow, driver: VolumeDriver, context: DriverContext): Promise<void> {
    const mount = () => driver.mount(volumeOf(row), row.mountpoint, context);
    const mounts = fencedMounts(this.#table, this.#states);
    const watch = () => this.#options.fence.watch(mounts, row.volume);
    if (driver.capabilities.ownsFileSystem) {
      await watch();
      await mount();
    } else {
      // Both have ended before the mount is undone. The mount is quicker to pass on, so it comes first.
      const mounted = mount();
      await allOf([watch(), mounted]);
    }
  }

  async #mountAgain(row: MountRow, signal: AbortSignal): Promise<void> {
    const driver = driverOf(row, this.#options.drivers);
    // With on-lost=keep the lock is acquired again also if another host had it meanwhile.
    const isContinued = row.onLost !== 'keep';
    const lock = this.#states.lock(row.volume);
    await driver.mount(volumeOf(row), row.mountpoint, { signal, lock, isContinued });
    try {
      signal.throwIfAborted();
      this.#states.requireHeld(row.volume);
    } catch (error) {
      await driver.unmount(volumeOf(row), row.mountpoint, { signal: never });
      throw error;
    }
    log('mounted again volume=%s', row.volume);
  }

  /** Removes uses; with the last one the volume is unmounted and its lock released. */
  async #dropIds(row: MountRow, ids: readonly string[]): Promise<void> {
    const left = withoutUses(row, ids);
    if (left.mountIds.size > 0) {
      await this.#table.update(left);
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
      await this.#table.update(unconfirmed(row));
      throw error;
    }
    const { lock, synced } = await this.#forget(row);
    const ended = endInStore(row, lock, this.#options);
    this.#fenceChanged(row.volume); // The caller does not wait for it, so the store comes first.
    await Promise.all([ended, synced]);
  }

  /**
   * Deletes the row and the state of a volume that is not mounted any more. The deletion is written
   * when this resolves, and on disk when `synced` does (MountTable). The caller tells the fence.
   */
  async #forget({ volume }: MountRow): Promise<BegunRow & { lock: MountLock | undefined }> {
    const lock = this.#states.leave(volume);
    this.#ruleTokens.delete(volume);
    const { synced } = await this.#table.delete(volume);
    return { lock, synced };
  }

  /**
   * Refuses the last unmount of a volume with a file system of its own while the volume may be
   * another host's, because that unmount writes to it. It is repeated when the owner is known.
   */
  #requireLastWrite(row: MountRow): void {
    const { ownsFileSystem } = driverOf(row, this.#options.drivers).capabilities;
    if (row.onLost !== 'keep' && ownsFileSystem) this.#states.requireHeld(row.volume);
  }

  #fenceChanged(volume: string): void {
    this.#options.fence.changed(fencedMounts(this.#table, this.#states), volume);
  }
}

/** True if the volume is mounted here and no container shows it. */
async function isUnused({ mountpoint }: MountRow): Promise<boolean> {
  return (await isMountpoint(mountpoint)) && !(await isShownElsewhere(mountpoint));
}
