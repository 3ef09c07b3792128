import createDebug from 'debug';
import { isMountpoint } from '../../linux/mountinfo.ts';
import { LockError } from '../../lock/errors.ts';
import { messageOf } from '../../running/message-of.ts';
import { never } from '../../running/never.ts';
import type { VolumeDriver } from '../drivers/driver.ts';
import { UnavailableError } from '../errors.ts';
import type { EventKind, EventSink, VolumeEvent } from '../events.ts';
import type { KeyedQueue } from './keyed-queue.ts';
import type { MountGuard } from './mount-guard.ts';
import { driverOf, unconfirmed, volumeOf } from './mount-row.ts';
import type { MountRow, MountTable } from './mount-table.ts';
import type { MountLocks, OnLockChange } from './mounted-locks.ts';
import { MountedLocks } from './mounted-locks.ts';

const log = createDebug('berth:mount');

export interface MountTenuresOptions {
  readonly table: MountTable;
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  /** One task per volume at a time: mounts and unmounts of a volume never interleave. */
  readonly queue: KeyedQueue;
  readonly locks: MountLocks;
  readonly bootId: string;
  readonly guard: MountGuard;
  /** Is told what happens to mounts without anybody asking for it. */
  readonly events: EventSink;
}

/**
 * Keeps what is mounted on this host in step with the locks under which it is: takes over the mounts
 * of the process before, takes lost locks again where that is safe, and fences where it is not.
 */
export class MountTenures {
  /** Of the volumes mounted here. */
  readonly locks = new MountedLocks();
  readonly #options: MountTenuresOptions;
  readonly #complaints = new Map<string, string>();
  /** Those that could not be undone, with the uses that they had then. */
  readonly #toUndo = new Map<string, MountRow['mountIds']>();

  constructor(options: MountTenuresOptions) {
    this.#options = options;
  }

  /** What happens when the lock of a volume mounted here changes. */
  onLockChange(volume: string): OnLockChange {
    return (state) => {
      if (state !== 'released') this.#options.guard.changed();
      if (state !== 'lost') return;
      void this.#options.queue.run(volume, async () => {
        const row = this.#options.table.get(volume);
        if (!row) return;
        this.locks.take(volume);
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
    const missing = (row: MountRow) =>
      this.locks.isMissing(row.volume) || this.#isToBeFenced(row) || this.#isToBeUndone(row);
    for (const { volume } of this.#options.table.rows().filter(missing)) {
      await this.#options.queue.run(volume, async () => {
        const row = this.#options.table.get(volume);
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
      const row = this.#options.table.get(volume);
      if (row?.ticket.token !== token || row.onLost === 'keep') return;
      if (this.locks.tenure(volume) !== 'held') return; // It is fenced, or will be.
      this.locks.evict(volume);
      const message = `${by} cleared its lock while it was mounted here: ending its containers`;
      this.#record('error', 'evicted', row, message);
      await this.#fence(row);
    });
  }

  /**
   * Unmounts what is not in use, whatever of it is there. What is not ours any more is taken away
   * without a last write.
   */
  async takeAway(row: MountRow, isOurs: boolean): Promise<void> {
    const driver = driverOf(row, this.#options.drivers);
    const volume = volumeOf(row);
    if (isOurs) await driver.unmount(volume, row.mountpoint, { signal: never });
    else await driver.abandon(volume, row.mountpoint, { signal: never });
    this.locks.take(row.volume);
    await this.#options.table.delete(row.volume);
    this.#options.guard.changed();
  }

  async #adoptOne(row: MountRow): Promise<void> {
    const { volume } = row;
    const wasInProgress = Object.keys(row.mountIds).length === 0;
    const kept = this.locks.get(volume);
    const lock = kept ?? (await this.#options.locks.resume(row, this.onLockChange(volume)));
    if (lock && !kept) this.locks.set(volume, lock);
    if (wasInProgress || row.bootId !== this.#options.bootId) {
      const message = wasInProgress
        ? 'its mount was interrupted: undone'
        : 'this host was restarted while it was mounted: the mount is gone, and its lock let go';
      this.#toUndo.set(volume, row.mountIds);
      await this.takeAway(row, lock?.state === 'held');
      this.#toUndo.delete(volume);
      await lock?.unlock();
      this.#record('info', 'dropped', row, message); // Once: what fails is tried again.
      return;
    }
    if (!lock) await this.#relock(row);
    const current = this.#options.table.get(volume);
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
      await driverOf(row, this.#options.drivers).recover(row.mountpoint, { signal: never });
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
    const lock = await this.locks.retake(volume, () =>
      this.#options.locks.reacquire(row, this.onLockChange(volume)),
    );
    if (lock) {
      const locked = { ...(this.#options.table.get(volume) ?? row), ticket: lock.ticket };
      await this.#options.table.update(locked);
      const message = 'its lock had ended while it was mounted here, and is taken again';
      this.#record('warning', 'relocked', locked, message);
    } else if (this.#isToBeFenced(row)) {
      const message =
        'its lock has ended while it was mounted here, and another host may have it: ending the ' +
        'containers that use it';
      this.#record('error', 'lost', row, message);
      await this.#fence(row);
    } else if (this.locks.tenure(volume) === 'lost') {
      const message =
        'its lock has ended while it was mounted here, and another host has it: the containers ' +
        'that use it here go on because of on-lost=keep; end them before both spoil the data';
      this.#record('error', 'lost', row, message);
    }
    this.#options.guard.changed();
  }

  /** Its undoing has failed, and nobody has used it since. */
  #isToBeUndone({ volume, mountIds }: MountRow): boolean {
    return this.#toUndo.get(volume) === mountIds;
  }

  #isToBeFenced({ volume, onLost }: MountRow): boolean {
    return onLost !== 'keep' && ['lost', 'evicted'].includes(this.locks.tenure(volume));
  }

  /** Sees to it that nothing here uses a volume that is, or will be, another host's. */
  async #fence(row: MountRow): Promise<void> {
    const { volume } = row;
    await this.#options.guard.end(volume);
    const lock = this.locks.get(volume);
    await this.takeAway(row, lock?.state === 'held');
    await lock?.unlock();
    const message =
      'no container here uses it any more, and it is unmounted; one that is started again waits ' +
      'for the lock like any other';
    this.#record('error', 'fenced', row, message);
  }

  #record(
    severity: VolumeEvent['severity'],
    kind: EventKind,
    row: MountRow,
    message: string,
  ): void {
    const { volume, ticket } = row;
    this.#options.events.record({ severity, kind, volume, message, token: ticket.token });
  }
}
