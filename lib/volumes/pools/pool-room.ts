import type { DriverVolume, Occupied, VolumeDriver } from '../drivers/driver.ts';
import type { PoolSpace } from '../drivers/driver-pool.ts';
import { UnavailableError } from '../errors.ts';
import type { Catalog } from '../records/catalog.ts';
import type { VolumeRecord } from '../volume.ts';

/*
 * What may be promised. A volume may grow to its size, and a snapshot keeps what it occupies, because
 * the volume needs other blocks for what it changes afterwards. So
 *
 *     sizes of the volumes + space of the snapshots  ≤  overcommit × (free space + space of both)
 *
 * What else lies on the file system is neither: volumes without a size can break the promise, unless
 * a volume has its space allocated (reserve=yes).
 */

export interface PoolRoomOptions {
  readonly catalog: Pick<Catalog, 'list'>;
  /** The space that may be promised, as a multiple of what there is. */
  readonly overcommit: number;
}

/** The space that volumes and snapshots of one driver need, at most, and the space that they can have. */
export interface Room {
  readonly promisedBytes: number;
  readonly snapshotBytes: number;
  readonly capacityBytes: number;
}

/** Refuses what a pool could not hold if every volume were full. */
export class PoolRoom {
  readonly #options: PoolRoomOptions;
  /** Promises of running operations, whose records are not written yet, by driver. */
  readonly #pending = new Map<string, number>();

  constructor(options: PoolRoomOptions) {
    this.#options = options;
  }

  /**
   * Runs `work`, which makes a volume or a snapshot of at most `bytes`. Rejects UnavailableError, with
   * the figures, if the pool has no room for it; nothing was done then. Hosts that create volumes at the
   * same moment do not see each other's.
   */
  async during<T>(driver: VolumeDriver, bytes: number, work: () => Promise<T>): Promise<T> {
    if (bytes === 0) return work();
    const { name } = driver;
    const before = this.#pending.get(name) ?? 0;
    this.#pending.set(name, before + bytes);
    try {
      await this.#require(driver, bytes, before);
      return await work();
    } finally {
      this.#pending.set(name, (this.#pending.get(name) ?? bytes) - bytes);
    }
  }

  async #require(driver: VolumeDriver, bytes: number, pendingBytes: number): Promise<void> {
    const { overcommit } = this.#options;
    const space = await driver.pool.space();
    const records = this.#options.catalog.list().filter((record) => record.driver === driver.name);
    // Measuring takes a look at every volume, and most pools have room even by what is certainly enough.
    const most = mostNeeded(driver, records) + pendingBytes + bytes;
    if (most <= overcommit * space.freeBytes) return;
    const room = await measured(driver, records, space);
    const needed = room.promisedBytes + room.snapshotBytes + pendingBytes;
    const leftBytes = overcommit * room.capacityBytes - needed;
    if (bytes <= leftBytes) return;
    throw new UnavailableError(
      `the pool of driver ${driver.name} at ${driver.pool.place} has no room for ${inMiB(bytes)} more: ` +
        `${inMiB(room.promisedBytes + pendingBytes)} are promised to volumes and ` +
        `${inMiB(room.snapshotBytes)} kept by snapshots, of ${inMiB(room.capacityBytes)} ` +
        `(overcommit ${overcommit}), so ${inMiB(Math.max(0, leftBytes))} are left. Use a smaller size=, ` +
        'remove volumes or snapshots, or raise the setting overcommit; nothing was changed',
    );
  }
}

function mostNeeded(driver: VolumeDriver, records: readonly VolumeRecord[]): number {
  return sum(records.map((each) => driver.promisedBytes(each) * (1 + each.snapshots.length)));
}

async function measured(
  driver: VolumeDriver,
  records: readonly VolumeRecord[],
  space: PoolSpace,
): Promise<Room> {
  const occupied: Occupied[] = [];
  for (const record of records) occupied.push(await driver.occupied(record));
  return roomOf(promises(driver, records), occupied, space);
}

function promises(driver: VolumeDriver, volumes: readonly DriverVolume[]): number {
  return sum(volumes.map((volume) => driver.promisedBytes(volume)));
}

/**
 * Adds up the room of a pool. Where copies share blocks, a volume and its snapshots are counted as
 * occupying no more than the largest of them, so that room is rather refused than promised twice. Pure.
 */
export function roomOf(
  promisedBytes: number,
  occupied: readonly Occupied[],
  { totalBytes, freeBytes, sharesBlocks }: PoolSpace,
): Room {
  const own = occupied.map(({ volumeBytes, snapshotsBytes }) => {
    const all = [volumeBytes, ...snapshotsBytes];
    return sharesBlocks ? Math.max(...all) : sum(all);
  });
  return {
    promisedBytes,
    snapshotBytes: sum(occupied.flatMap(({ snapshotsBytes }) => snapshotsBytes)),
    capacityBytes: Math.min(totalBytes, freeBytes + sum(own)),
  };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}

function inMiB(bytes: number): string {
  return `${Math.floor(bytes / 2 ** 20)} MiB`;
}
