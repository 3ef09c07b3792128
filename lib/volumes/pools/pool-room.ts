import createDebug from 'debug';
import type { Lock } from '../../lock/lock.ts';
import type { RecordWrite } from '../../lock/stores/ticket-store.ts';
import type { Clock } from '../../running/clock.ts';
import type { DriverVolume, Occupied, VolumeDriver } from '../drivers/driver.ts';
import type { PoolSpace } from '../drivers/driver-pool.ts';
import { UnavailableError, VolumeError } from '../errors.ts';
import type { Catalog } from '../records/catalog.ts';
import { isStoredOn } from '../stored-on.ts';
import type { VolumeRecord } from '../volume.ts';
import type { EarlierPromises } from './earlier-promises.ts';
import { HostPromises } from './earlier-promises.ts';
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
  readonly clock: Clock;
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
  /** Where no other host promises anything. */
  readonly #alone: HostPromises;

  constructor(options: PoolRoomOptions) {
    this.#options = options;
    this.#alone = new HostPromises(options.clock);
  }

  /**
   * Runs `work`, which makes a volume or a snapshot of at most `bytes` under `lock`, and commits its record, with
   * the writes that it is given, in the same step. Rejects UnavailableError, with the figures, if the pool has
   * no room for it; nothing was done then. Of operations that run at one moment, on whichever hosts, the later
   * one counts the earlier one's promise, and waits for a while if that alone leaves it no room.
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
    if (!promises || driver.capabilities.hostOnly) {
      using begun = this.#alone.begin(driver.name, bytes);
      await this.#require(driver, bytes, begun);
      return await work([]);
    }
    const announced = await promises.announce(driver.name, bytes, lock);
    try {
      await this.#require(driver, bytes, announced);
      return await work([announced.end]);
    } catch (error) {
      await announced.withdraw().catch((reason) => log('driver=%s %s', driver.name, reason));
      throw error;
    }
  }

  async #require(driver: VolumeDriver, bytes: number, earlier: EarlierPromises): Promise<void> {
    const { overcommit, makeRoom } = this.#options;
    for (;;) {
      const found = await this.#found(driver, bytes, earlier);
      if (found === 'room') return;
      const { pendingBytes, leftBytes } = found;
      const isForEarlier = bytes <= leftBytes + pendingBytes;
      if (isForEarlier && (await earlier.untilFewer(pendingBytes))) continue;
      // Each turn has more room than the one before.
      if (await makeRoom?.(driver, (bytes - leftBytes) / overcommit)) continue;
      throw this.#refusal(driver, bytes, found);
    }
  }

  /** Looks for room; returns the figures if there is none. */
  async #found(
    driver: VolumeDriver,
    bytes: number,
    { earlierBytes }: EarlierPromises,
  ): Promise<'room' | Shortage> {
    const { overcommit, host, catalog } = this.#options;
    // In one moment: an earlier operation ends its promise in the step that writes its record.
    const pendingBytes = earlierBytes();
    const records = catalog.list().filter((record) => isStoredOn(host, record, driver));
    const space = await driver.pool.space();
    // Measuring takes a look at every volume, and most pools have room even by what is certainly enough.
    const most = mostNeeded(driver, records) + pendingBytes + bytes;
    if (most <= overcommit * space.freeBytes) return 'room';
    const room = await measured(driver, records, space);
    const needed = room.promisedBytes + room.snapshotBytes + pendingBytes;
    const leftBytes = overcommit * room.capacityBytes - needed;
    return bytes <= leftBytes ? 'room' : { room, pendingBytes, leftBytes };
  }

  #refusal(
    { name, pool }: VolumeDriver,
    bytes: number,
    { room, pendingBytes, leftBytes }: Shortage,
  ): UnavailableError {
    const underWay =
      pendingBytes === 0 ? '' : `, ${inMiB(pendingBytes)} to operations that are under way,`;
    const later = pendingBytes === 0 ? '' : 'Try again when those operations have ended, or use';
    return new UnavailableError(
      `the pool of driver ${name} at ${pool.place} has no room for ${inMiB(bytes)} more: ` +
        `${inMiB(room.promisedBytes)} are promised to volumes${underWay} and ` +
        `${inMiB(room.snapshotBytes)} kept by snapshots, of ${inMiB(room.capacityBytes)} ` +
        `(overcommit ${this.#options.overcommit}), so ${inMiB(Math.max(0, leftBytes))} are left. ` +
        `${later || 'Use'} a smaller size=, remove volumes or snapshots, or raise the setting overcommit; ` +
        'nothing was changed',
    );
  }
}

/** Why there is no room. */
interface Shortage {
  readonly room: Room;
  /** The bytes that earlier operations have promised. */
  readonly pendingBytes: number;
  /** Negative: more is promised than there is. */
  readonly leftBytes: number;
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
