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
   * For how long nothing may happen to a volume before its uses are dropped that the engine has
   * not given up. A container that starts waits for the Mount of its other volumes: up to 120 s.
   */
  readonly graceMs: number;
}

/**
 * Finds uses of volumes whose Unmount will never come. docs/mount-accounting.md says when that is.
 *
 * One that is unconfirmed goes when no live container has the volume: the engine that mounted it
 * has ended. One that is confirmed goes when no container at all has it, and nothing happened to it
 * for a while. Neither goes while anything on this machine still shows the mount.
 */
export class UnusedMounts {
  readonly #options: UnusedMountsOptions;
  /** Since when nothing has used a volume with these uses; another Mount or Unmount makes others. */
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
   * Drops what is not used. `rows` were read before the engine was asked for `inUse`: what has been
   * mounted since is not in either.
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
        'it stays mounted and locked until that ends';
      this.#kept.say(row.volume, message);
      return;
    }
    if (!(await this.#options.mounts.settle(row, ids))) return;
    this.#kept.clear(row.volume);
    const short = ids.map((id) => id.slice(0, 12)).join(', ');
    const isOver = ids.length === Object.keys(row.mountIds).length;
    this.#options.events.record({
      severity: isIdle ? 'warning' : 'info',
      kind: 'settled',
      volume: row.volume,
      message:
        `no container uses it, but the engine never sent the Unmount of ${short}: ` +
        (isOver ? 'unmounted, and its lock let go' : 'dropped; it is mounted for others'),
      token: row.ticket.token,
    });
  }

  /** Whether nothing has used the volume for long enough. */
  #isIdle({ mountIds }: MountRow, use: VolumeUse | undefined): boolean {
    const now = this.#options.clock.now();
    const since = this.#idleSince.get(mountIds);
    if (use !== undefined) this.#idleSince.delete(mountIds);
    else if (since === undefined) this.#idleSince.set(mountIds, now);
    return use === undefined && since !== undefined && now - since >= this.#options.graceMs;
  }
}
