import createDebug from 'debug';
import { isMountpoint, readMountpoints } from '../../linux/mountinfo.ts';
import { LockError } from '../../lock/errors.ts';
import type { KeptLock } from '../../lock/use/kept-lock.ts';
import { messageOf } from '../../running/message-of.ts';
import { never } from '../../running/never.ts';
import { SayOnceEach } from '../../running/say-once.ts';
import type { VolumeDriver } from '../drivers/driver.ts';
import { DisabledError, InUseError, UnavailableError } from '../errors.ts';
import type { EventKind, EventSink, VolumeEvent } from '../events.ts';
import type { EndInStore } from './end-in-store.ts';
import { endInStore } from './end-in-store.ts';
import type { FoundMounts } from './found-mounts.ts';
import type { KeyedMutex } from './keyed-mutex.ts';
import type { FencedMount, MountFence } from './mount-fence.ts';
import { fencedMounts } from './mount-fence.ts';
import { driverOf, unconfirmed } from './mount-row.ts';
import type { MountStates } from './mount-state.ts';
import type { MountRow, MountTable } from './mount-table.ts';
import type { Mounts } from './mounts.ts';
import type { OnLockChange, Relocker } from './relocker.ts';

const log = createDebug('berth:mount');

/** The number of volumes settled at once: they share the syncs of the disk, and wait for no other's fence. */
const settledAtOnce = 16;

export interface MountRecoveryOptions extends EndInStore {
  readonly table: MountTable;
  readonly states: MountStates;
  readonly mounts: Pick<Mounts, 'undo'>;
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  readonly mutex: KeyedMutex;
  readonly locks: Relocker;
  readonly found: FoundMounts;
  readonly fence: MountFence;
  /** Records what happens to mounts without a request. */
  readonly events: EventSink;
}

/**
 * Keeps the mounts of this host in step with their locks: adopts the mounts of the process before,
 * re-acquires lost locks where that is safe, and fences volumes where it is not.
 */
export class MountRecovery {
  readonly #options: MountRecoveryOptions;
  readonly #table: MountTable;
  readonly #states: MountStates;
  readonly #failures: SayOnceEach;
  /** The mountpoints when the last adoption began; for one that is missing the kernel is read again. */
  #mountpoints: ReadonlySet<string> = new Set();

  constructor(options: MountRecoveryOptions) {
    this.#options = options;
    this.#table = options.table;
    this.#states = options.states;
    this.#failures = new SayOnceEach((volume, message) => {
      options.events.record({ severity: 'error', kind: 'failed', volume, message });
    });
  }

  /** Returns the listener for changes of the lock of a volume mounted here. */
  onLockChange(volume: string): OnLockChange {
    return (state) => {
      if (state !== 'released') this.#options.fence.changed(this.#fenced());
      if (state !== 'lost' && state !== 'held') return;
      const follow = () => (state === 'lost' ? this.#lockLost(volume) : this.#lockProved(volume));
      void this.#options.mutex
        .run(volume, follow)
        .catch((error) => log('volume=%s: %s', volume, error));
    };
  }

  /**
   * Settles each mount whose state is not final: finds the lock of a mount that has none (after a
   * start of this daemon, which adopts the mounts of the one before; when the store was away just
   * as a lock was lost; when the volume was disabled then), fences a volume whose lock is gone, and
   * undoes what a crash has left half made. Takes over mounts without a row (`FoundMounts`). A bad
   * volume never stops the others. False: the store
   * was away for some. Callers repeat it then, and from time to time.
   */
  async adopt(): Promise<boolean> {
    const rows = this.#table.rows().filter((row) => this.#isUnsettled(row));
    const found = this.#states.found().map((state) => state.found);
    return await this.#settleAll(rows, found);
  }

  /**
   * Settles the mounts whose locks were held until the store's history changed, and could not be put
   * back at once. Needs no lock of the host: this process proves each by itself. Never rejects.
   */
  async putBack(): Promise<void> {
    const rows = this.#table.rows().filter((row) => this.#states.proof(row.volume) !== undefined);
    if (rows.length > 0) await this.#settleAll(rows, []);
  }

  async #settleAll(
    rows: readonly MountRow[],
    found: readonly { readonly volume: string }[],
  ): Promise<boolean> {
    let isComplete = true;
    if (rows.length > 0) this.#options.fence.changed(this.#fenced());
    // Read once: the host may have thousands of mounts.
    if (rows.length > 0) this.#mountpoints = await readMountpoints();
    const settle = (volume: string) =>
      this.#options.mutex.run(volume, async () => {
        const row = this.#table.get(volume);
        try {
          if (!row) await this.#settleFound(volume);
          else if (this.#isUnsettled(row)) await this.#settle(row);
        } catch (error) {
          if (error instanceof LockError || error instanceof UnavailableError) isComplete = false;
          this.#failedToSettle(volume, error);
        }
      });
    const waiting = [...rows, ...found].values();
    const worker = async () => {
      for (const { volume } of waiting) await settle(volume);
    };
    await Promise.all(Array.from({ length: settledAtOnce }, worker));
    return isComplete;
  }

  /**
   * Gives up a volume that is in use here, because an operator (`by`) cleared its lock: ends the
   * containers that use it, unmounts it, and only then releases the lock, which the token names.
   * Does nothing for a volume that is not mounted under that lock, or is never fenced.
   */
  async evict(volume: string, token: number, by: string): Promise<void> {
    await this.#options.mutex.run(volume, async () => {
      const row = this.#table.get(volume);
      if (row?.ticket.token !== token || row.onLost === 'keep') return;
      const lock = this.#states.lock(volume);
      // Without proof that it is held, the volume is fenced already, or will be.
      if (!lock || this.#states.ownership(volume) !== 'held') return;
      this.#states.enter(volume, { is: 'evicted', lock });
      const message = `${by} cleared its lock while it was mounted here: ending its containers`;
      this.#record('error', 'evicted', row, message);
      await this.#fence(row);
    });
  }

  /** True: `adopt` has something to do for this volume. */
  #isUnsettled({ volume, onLost }: MountRow): boolean {
    switch (this.#states.get(volume)?.is) {
      case 'unlocked':
      case 'disabled':
      case 'interrupted':
        return true;
      case 'lost':
      case 'evicted':
        return onLost !== 'keep';
      default:
        return false;
    }
  }

  async #settle(row: MountRow): Promise<void> {
    const { volume } = row;
    const state = this.#states.get(volume)?.is;
    if (state === 'lost' || state === 'evicted') return await this.#fence(row);
    if (state === 'interrupted') return await this.#undo(row);
    const lock = await this.#options.locks.resume(row, this.onLockChange(volume));
    if (lock) {
      this.#states.enter(volume, { is: 'mounted', lock });
      await this.#lockProved(volume);
      await this.#adoptMount(row);
      this.#record('info', 'adopted', row, 'adopted from the process before, with its lock');
      return;
    }
    await this.#relock(row);
    const current = this.#table.get(volume);
    if (current) await this.#adoptMount(current); // Else it is fenced.
  }

  async #settleFound(volume: string): Promise<void> {
    const { found } = this.#options;
    const row = await found.takeOver(volume, this.onLockChange(volume));
    if (row) {
      await this.#adoptMount(row);
      const message =
        'was mounted here, but not in the mount table: taken over with its lock; it stays mounted ' +
        'until no container is seen to use it';
      this.#record('warning', 'adopted', row, message);
      await this.#lockLost(volume); // It may have been lost meanwhile.
      this.#options.fence.changed(this.#fenced());
      return;
    }
    const message = found.verdict(volume);
    if (message !== undefined) this.#failures.say(volume, message);
  }

  async #undo(row: MountRow): Promise<void> {
    const { volume } = row;
    const lock =
      this.#states.lock(volume) ??
      (await this.#options.locks.resume(row, this.onLockChange(volume)));
    if (lock) this.#states.enter(volume, { is: 'interrupted', lock });
    await this.#options.mounts.undo(row, lock?.state === 'held');
    await endInStore(row, lock, this.#options);
    const message =
      row.mountIds.size === 0
        ? 'its mount was interrupted and has been undone'
        : 'this host was restarted while it was mounted: the mount is gone, and its lock ' +
          (lock ? 'is released' : 'expires or has expired');
    this.#record('info', 'dropped', row, message); // Once: what fails is retried.
  }

  /** Logs a failure that `adopt` retries, and records an event once. */
  #failedToSettle(volume: string, error: unknown): void {
    const message = `could not be settled; berth retries: ${messageOf(error)}`;
    log('volume=%s %s', volume, message);
    this.#failures.say(volume, message);
  }

  async #adoptMount(row: MountRow): Promise<void> {
    const { mountpoint } = row;
    if (this.#mountpoints.has(mountpoint) || (await isMountpoint(mountpoint))) {
      const driver = driverOf(row, this.#options.drivers);
      // Nobody freezes a file system that is not the volume's own. Without proof of the lock, the freeze is
      // the sentinel's.
      const isOurs = row.onLost === 'keep' || this.#states.ownership(row.volume) === 'held';
      if (driver.capabilities.ownsFileSystem && isOurs) {
        await driver.recover(mountpoint, { signal: never });
      }
      return;
    }
    // An engine that restarts or disables a managed plugin takes its mounts away. Containers may
    // still have theirs, so the lock is kept until it is known that none does.
    await this.#table.update(unconfirmed(row));
    log('volume=%s is not mounted any more: keeping its lock', row.volume);
  }

  /** Records the store's history in which a lock has been proved, for the next daemon. */
  async #lockProved(volume: string): Promise<void> {
    const row = this.#table.get(volume);
    const lock = this.#states.lock(volume);
    if (!row || lock?.state !== 'held' || lock.historyId === undefined) return;
    if (row.history === lock.historyId || row.ticket.nonce !== lock.ticket.nonce) return;
    await this.#table.update({ ...row, history: lock.historyId });
  }

  /** Handles the loss of a lock; runs in the volume's mutex. */
  async #lockLost(volume: string): Promise<void> {
    const row = this.#table.get(volume);
    const lost = this.#states.lock(volume);
    // Another lock may have replaced the lost one while this task waited.
    if (!row || lost?.state !== 'lost') return;
    if (this.#states.get(volume)?.is === 'interrupted') {
      this.#states.enter(volume, { is: 'interrupted' }); // `adopt` undoes it, without a last write.
      return;
    }
    this.#states.enter(volume, { is: 'unlocked', proof: lost.proof });
    await this.#relock(row);
  }

  /**
   * Re-acquires the lock of a volume mounted here, if nobody has asked for the volume since. Else
   * somebody may have written to it, and it is fenced. A volume with `on-lost=keep` is re-acquired
   * whenever its lock is free.
   */
  async #relock(row: MountRow): Promise<void> {
    const { volume } = row;
    const proof = this.#states.proof(volume);
    const lock = await this.#reacquired(row, proof);
    if (lock) {
      const { ticket, historyId } = lock;
      const history = historyId === undefined ? {} : { history: historyId };
      const locked = { ...(this.#table.get(volume) ?? row), ticket, ...history };
      await this.#table.update(locked);
      const message =
        proof === undefined
          ? 'its lock expired while it was mounted here and was re-acquired; no other host had ' +
            'asked for it'
          : 'its lock was missing after the store was put back and was put back, too: this host had ' +
            'held it until then';
      this.#record('warning', 'relocked', locked, message);
    } else if (this.#states.get(volume)?.is === 'lost') {
      await this.#lostToAnother(row);
    }
    this.#options.fence.changed(this.#fenced());
  }

  /** Undefined: the volume is lost, or it is disabled, and `adopt` retries. */
  async #reacquired(row: MountRow, proof: number | undefined): Promise<KeptLock | undefined> {
    const { volume } = row;
    try {
      const lock = await this.#options.locks.reacquire(row, this.onLockChange(volume), proof);
      this.#states.enter(volume, { is: 'mounted', lock });
      return lock;
    } catch (error) {
      if (error instanceof DisabledError) {
        if (this.#states.get(volume)?.is !== 'disabled') {
          log('WARNING volume=%s is mounted here without a lock: %s', volume, error.message);
        }
        this.#states.enter(volume, { is: 'disabled' });
      } else if (error instanceof InUseError) {
        this.#states.enter(volume, { is: 'lost' });
        log('ERROR volume=%s is mounted here but its lock is not ours: %s', volume, error.message);
      } else {
        throw error;
      }
      return undefined;
    }
  }

  async #lostToAnother(row: MountRow): Promise<void> {
    const isFenced = row.onLost !== 'keep';
    const message = isFenced
      ? 'its lock expired while it was mounted here, and another host may have it: ending the ' +
        'containers that use it'
      : 'its lock expired while it was mounted here, and another host holds it: the containers ' +
        'that use it here go on because of on-lost=keep; end them before both spoil the data';
    this.#record('error', 'lost', row, message);
    if (isFenced) await this.#fence(row);
  }

  /** Ends the use of a volume that is, or will be, another host's, and unmounts it. */
  async #fence(row: MountRow): Promise<void> {
    const { volume } = row;
    await this.#options.fence.end(volume, this.#fenced());
    const lock = this.#states.lock(volume);
    await this.#options.mounts.undo(row, lock?.state === 'held');
    await endInStore(row, lock, this.#options);
    const message =
      'no container here uses it any more, and it is unmounted; a container that is started again ' +
      'waits for the lock like any other';
    this.#record('error', 'fenced', row, message);
  }

  #fenced(): FencedMount[] {
    return fencedMounts(this.#table, this.#states);
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
