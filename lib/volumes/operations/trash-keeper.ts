import createDebug from 'debug';
import type { Clock } from '../../running/clock.ts';
import { every } from '../../running/every.ts';
import type { VolumeDriver } from '../drivers/driver.ts';
import { InUseError } from '../errors.ts';
import { fillingPool } from '../pools/pool-conditions.ts';
import type { RemovedVolume } from '../records/removed-volumes.ts';
import { formatEntry } from '../trash-entry.ts';
import type { Trash } from './trash.ts';

const log = createDebug('berth:volume');

export interface TrashKeeperOptions {
  readonly trash: Pick<Trash, 'list' | 'discard' | 'bytes'>;
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  readonly clock: Clock;
  /** Aborts when the daemon stops. */
  readonly signal: AbortSignal;
}

const pauseMs = 10_000;

/**
 * Empties the trash: what has reached the end of its term, and the first removed first where space is
 * needed. Each host does it for all; the lock of an entry lets one of them delete it.
 */
export class TrashKeeper {
  readonly #options: TrashKeeperOptions;

  constructor(options: TrashKeeperOptions) {
    this.#options = options;
  }

  /** Looks every few seconds until the signal aborts. */
  async run(): Promise<void> {
    const { clock, signal } = this.#options;
    for await (const _ of every(pauseMs, clock, signal)) await this.empty();
  }

  /** Deletes what has reached its term, and what a nearly full pool needs. Never rejects. */
  async empty(): Promise<void> {
    const { trash, clock, drivers } = this.#options;
    const now = clock.date().getTime();
    for (const removed of trash.list()) {
      if (Date.parse(removed.keptUntil) > now) continue;
      await this.#discard(removed, `its term ended at ${removed.keptUntil}`);
    }
    for (const driver of drivers.values()) await this.#emptyForPool(driver);
  }

  /**
   * Makes room in a driver's pool, the first removed first, for at least so many bytes; deletes nothing if
   * all of the trash is not enough. Resolves to true if there is more room than before.
   */
  async makeRoom(driver: VolumeDriver, bytes: number): Promise<boolean> {
    const { trash } = this.#options;
    const entries = this.#of(driver);
    const sizes = await Promise.all(entries.map((removed) => trash.bytes(removed)));
    const all = sizes.reduce((sum, each) => sum + each, 0);
    if (all < bytes) return false;
    let freed = 0;
    for (const [index, removed] of entries.entries()) {
      if (freed >= bytes) break;
      const isGone = await this.#discard(removed, `the pool of driver ${driver.name} needs space`);
      if (isGone) freed += sizes[index] ?? 0;
    }
    return freed > 0;
  }

  async #emptyForPool(driver: VolumeDriver): Promise<void> {
    for (const removed of this.#of(driver)) {
      const space = await driver.pool.space().catch((error) => {
        log('driver=%s its pool does not tell its space: %s', driver.name, error);
        return undefined;
      });
      if (space === undefined || !fillingPool(driver.name, driver.pool, space)) return;
      await this.#discard(removed, `the pool of driver ${driver.name} is nearly full`);
    }
  }

  #of(driver: VolumeDriver): RemovedVolume[] {
    return this.#options.trash.list().filter((removed) => removed.driver === driver.name);
  }

  /** Resolves to false if it can't be deleted now; another host may be at work on it. */
  async #discard(removed: RemovedVolume, why: string): Promise<boolean> {
    try {
      return await this.#options.trash.discard(removed, why, this.#options.signal);
    } catch (error) {
      if (!(error instanceof InUseError)) log('ERROR %s: %s', formatEntry(removed), error);
      return false;
    }
  }
}
