import { isShownElsewhere } from '../../lib/linux/mount-namespaces.ts';
import type { Clock } from '../../lib/running/clock.ts';
import { messageOf } from '../../lib/running/message-of.ts';
import { SayOnceEach } from '../../lib/running/say-once.ts';
import type { EventSink } from '../../lib/volumes/events.ts';
import { engineIdsOf, unconfirmedIdsOf } from '../../lib/volumes/mounts/mount-row.ts';
import type { MountRow } from '../../lib/volumes/mounts/mount-table.ts';
import type { Mounts } from '../../lib/volumes/mounts/mounts.ts';
import type { VolumeUse } from './engine.ts';

export interface UnusedMountsOptions {
  readonly mounts: Pick<Mounts, 'settle'>;
  readonly events: EventSink;
  readonly clock: Clock;
  /** Tells whether any process of this machine still shows the mount. */
  readonly isShownElsewhere?: ((mountpoint: string) => Promise<boolean>) | undefined;
  /**
   * Confirmed uses are dropped when no container has had the volume for this long. A container that
   * starts may wait up to 120 s for the Mounts of its other volumes.
   */
  readonly graceMs: number;
}

/**
 * Finds uses of volumes whose Unmount will never arrive; docs/mount-accounting.md has the rules.
 *
 * An unconfirmed use is dropped if no live container has the volume: the engine that mounted it has
 * ended. A confirmed use is dropped if no container at all has had the volume for a while. No use is
 * dropped while a process on this machine still shows the mount.
 */
export class UnusedMounts {
  readonly #options: UnusedMountsOptions;
  /** When a volume with these uses became idle; a Mount or Unmount replaces the uses object. */
  readonly #idleSince = new WeakMap<MountRow['mountIds'], number>();
  readonly #kept: SayOnceEach;
  readonly #isShownElsewhere: (mountpoint: string) => Promise<boolean>;

  constructor(options: UnusedMountsOptions) {
    this.#options = options;
    this.#isShownElsewhere = options.isShownElsewhere ?? isShownElsewhere;
    this.#kept = new SayOnceEach((volume, message) => {
      options.events.record({ severity: 'warning', kind: 'kept', volume, message });
    });
  }

  /**
   * Drops unused uses. `rows` must be read before the engine is asked for `inUse`, so that a volume
   * that is mounted in between is in neither.
   */
  async drop(rows: readonly MountRow[], inUse: ReadonlyMap<string, VolumeUse>): Promise<void> {
    for (const row of rows) {
      try {
        await this.#dropOf(row, inUse.get(row.volume));
      } catch (error) {
        this.#kept.say(
          row.volume,
          `nothing uses it, but it can't be unmounted: ${messageOf(error)}`,
        );
      }
    }
  }

  async #dropOf(row: MountRow, use: VolumeUse | undefined): Promise<void> {
    const isIdle = this.#isIdle(row, use);
    if (use === 'live') return;
    const ids = isIdle ? engineIdsOf(row) : unconfirmedIdsOf(row);
    if (ids.length === 0) return;
    if (await this.#isShownElsewhere(row.mountpoint)) {
      const message =
        'no container of the Docker engine uses it, but a process on this host has it mounted; ' +
        'it stays mounted and locked until the process ends';
      this.#kept.say(row.volume, message);
      return;
    }
    if (!(await this.#options.mounts.settle(row, ids))) return;
    this.#kept.clear(row.volume);
    const short = ids.map((id) => id.slice(0, 12)).join(', ');
    const isOver = ids.length === row.mountIds.size;
    this.#options.events.record({
      severity: isIdle ? 'warning' : 'info',
      kind: 'settled',
      volume: row.volume,
      message:
        `no container uses it, but the engine never sent the Unmount of ${short}: ` +
        (isOver ? 'unmounted and unlocked' : 'dropped; other uses keep it mounted'),
      token: row.ticket.token,
    });
  }

  /** Returns true if no container has used the volume for the grace. */
  #isIdle({ mountIds }: MountRow, use: VolumeUse | undefined): boolean {
    const now = this.#options.clock.now();
    const since = this.#idleSince.get(mountIds);
    if (use !== undefined) this.#idleSince.delete(mountIds);
    else if (since === undefined) this.#idleSince.set(mountIds, now);
    return use === undefined && since !== undefined && now - since >= this.#options.graceMs;
  }
}
