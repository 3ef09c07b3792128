import createDebug from 'debug';
import type { Lock } from '../../lock/lock.ts';
import type { RecordWrite } from '../../lock/stores/ticket-store.ts';
import type { DriverVolume, Occupied, VolumeDriver } from '../drivers/driver.ts';
import type { PoolSpace } from '../drivers/driver-pool.ts';
import { UnavailableError, VolumeError } from '../errors.ts';
import type { Catalog } from '../records/catalog.ts';
import { isStoredOn } from '../stored-on.ts';
import type { VolumeRecord } from '../volume.ts';
import type { Promises } from './promises.ts';

const log = createDebug('berth:pool');

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
  /** The name of this host. */
  readonly host: string;
  /** The promises of all hosts; absent: no other host uses the store. */
  readonly promises?: Pick<Promises, 'announce'> | undefined;
  /**
   * Makes room for at least so many bytes, by what may be deleted for that (the trash). Resolves to true if
   * there is more room than before.
   */
  readonly makeRoom?: ((driver: VolumeDriver, bytes: number) => Promise<boolean>) | undefined;
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
  /** Promises of running operations, whose records are not written yet, by driver; of this host alone. */
  readonly #pending = new Map<string, number>();

  constructor(options: PoolRoomOptions) {
    this.#options = options;
  }

  /**
   * Runs `work`, which makes a volume or a snapshot of at most `bytes` under `lock`, and commits its record, with
   * the writes that it is given, in the same step. Rejects UnavailableError, with the figures, if the pool has
   * no room for it; nothing was done then. Of operations that run at one moment, on whichever hosts, the later
   * one counts the earlier one's promise.
   */
  async during<T>(
    driver: VolumeDriver,
    bytes: number,
    lock: Lock,
    work: (ends: readonly RecordWrite[]) => Promise<T>,
  ): Promise<T> {
    if (bytes === 0) return work([]);
    const { promises } = this.#options;
    // A pool of this host alone is promised by nobody else.
    if (!promises || driver.capabilities.hostOnly) return this.#alone(driver, bytes, work);
    const announced = await promises.announce(driver.name, bytes, lock);
    try {
      await this.#require(driver, bytes, announced.earlierBytes);
      return await work([announced.end]);
    } catch (error) {
      await announced.withdraw().catch((reason) => log('driver=%s %s', driver.name, reason));
      throw error;
    }
  }

  async #alone<T>(
    driver: VolumeDriver,
    bytes: number,
    work: (ends: readonly RecordWrite[]) => Promise<T>,
  ): Promise<T> {
    const { name } = driver;
    const before = this.#pending.get(name) ?? 0;
    this.#pending.set(name, before + bytes);
    try {
      await this.#require(driver, bytes, () => before);
      return await work([]);
    } finally {
      this.#pending.set(name, (this.#pending.get(name) ?? bytes) - bytes);
    }
  }

  async #require(driver: VolumeDriver, bytes: number, pendingBytes: () => number): Promise<void> {
    while (!(await this.#fits(driver, bytes, pendingBytes()))) {
      // Each turn has more room than the one before.
    }
  }

  /**
   * True: there is room. False: there is more than before, by what was deleted, so the answer may be another.
   * Rejects UnavailableError if there is no room, and nothing that may be deleted for it.
   */
  async #fits(driver: VolumeDriver, bytes: number, pendingBytes: number): Promise<boolean> {
    const { overcommit, host, catalog, makeRoom } = this.#options;
    const space = await driver.pool.space();
    const records = catalog.list().filter((record) => isStoredOn(host, record, driver));
    // Measuring takes a look at every volume, and most pools have room even by what is certainly enough.
    const most = mostNeeded(driver, records) + pendingBytes + bytes;
    if (most <= overcommit * space.freeBytes) return true;
    const room = await measured(driver, records, space);
    const needed = room.promisedBytes + room.snapshotBytes + pendingBytes;
    const leftBytes = overcommit * room.capacityBytes - needed;
    if (bytes <= leftBytes) return true;
    if (await makeRoom?.(driver, (bytes - leftBytes) / overcommit)) return false;
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
  return sum(records.map((each) => promisedBy(driver, each) * (1 + each.snapshots.length)));
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
  return sum(volumes.map((volume) => promisedBy(driver, volume)));
}

/** A record whose options its driver can't use promises nothing: its volume can't be mounted, and stops no other. */
function promisedBy(driver: VolumeDriver, volume: DriverVolume): number {
  try {
    return driver.promisedBytes(volume);
  } catch (error) {
    if (error instanceof VolumeError) return 0;
    throw error;
  }
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
