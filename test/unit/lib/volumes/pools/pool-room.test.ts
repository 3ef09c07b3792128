// How much may be promised: pure sums, and the refusal with a driver whose figures the test sets.

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Lock } from '../../../../../lib/lock/lock.ts';
import { LockManager } from '../../../../../lib/lock/lock-manager.ts';
import { memoryStore } from '../../../../../lib/lock/stores/memory/store.ts';
import type { VolumeDriver } from '../../../../../lib/volumes/drivers/driver.ts';
import type { PoolSpace } from '../../../../../lib/volumes/drivers/driver-pool.ts';
import { imageDriver } from '../../../../../lib/volumes/drivers/image/driver.ts';
import { UnavailableError } from '../../../../../lib/volumes/errors.ts';
import { PoolRoom, roomOf } from '../../../../../lib/volumes/pools/pool-room.ts';
import { recordSchema } from '../../../../../lib/volumes/volume.ts';
import { ManualClock } from '../../../../support/manual-clock.ts';

const gib = 2 ** 30;
const space = (totalBytes: number, freeBytes: number, sharesBlocks = false): PoolSpace => ({
  ...{ totalBytes, freeBytes, freeFiles: 1, sharesBlocks, isOnRoot: false },
});

test('space that a volume occupies is still its own', () => {
  const room = roomOf(
    4 * gib,
    [{ volumeBytes: 3 * gib, snapshotsBytes: [] }],
    space(10 * gib, 6 * gib),
  );
  expect(room).toEqual({ promisedBytes: 4 * gib, snapshotBytes: 0, capacityBytes: 9 * gib });
});

test('a snapshot counts with the space that it keeps', () => {
  const occupied = [{ volumeBytes: 3 * gib, snapshotsBytes: [2 * gib, gib] }];
  expect(roomOf(4 * gib, occupied, space(10 * gib, 4 * gib))).toMatchObject({
    snapshotBytes: 3 * gib,
    capacityBytes: 10 * gib,
  });
});

test('blocks that a volume and its snapshot share are not counted as two', () => {
  const occupied = [{ volumeBytes: 4 * gib, snapshotsBytes: [4 * gib] }];
  expect(roomOf(4 * gib, occupied, space(10 * gib, 5 * gib, true))).toMatchObject({
    snapshotBytes: 4 * gib,
    capacityBytes: 9 * gib,
  });
});

const record = (name: string, size: number) =>
  recordSchema.parse({
    ...{ version: 1, name, driver: 'image', access: 'host', snapshots: [], token: 1 },
    ...{ createdAt: '2026-01-02T03:04:05Z', createdBy: 'n1' },
    options: { size: String(size), fs: 'ext4' },
  });

/** A driver of images whose pool has 10 GiB, all free, and whose images are empty. */
const driver: VolumeDriver = {
  ...imageDriver({ volumeDir: '/nowhere' }),
  occupied: async () => ({ volumeBytes: 0, snapshotsBytes: [] }),
};
const { pool } = driver;
Object.assign(driver, { pool: { ...pool, space: async () => space(10 * gib, 10 * gib) } });

const clock = new ManualClock();
const roomFor = (overcommit: number) =>
  new PoolRoom({ catalog: { list: () => [record('db', 6 * gib)] }, overcommit, host: 'n1', clock });
const nothing = async () => 'done';

/** The lock of the operations; a pool of one host asks nothing of it. */
let lock: Lock;
let manager: LockManager;
const lockRequest = { name: 'mount/new', mode: 'exclusive' } as const;

beforeAll(async () => {
  manager = new LockManager({ store: memoryStore(), host: 'n1', owner: 'n1', ttlMs: 30_000 });
  lock = await manager.lock([lockRequest], { reason: 'Create' });
});

afterAll(async () => {
  await manager[Symbol.asyncDispose]();
});

test('a promise beyond the space is refused with the figures, and nothing is done', async () => {
  let isDone = false;
  const asked = roomFor(1).during(driver, 5 * gib, lock, async () => {
    isDone = true;
  });
  await expect(asked).rejects.toThrow(UnavailableError);
  await expect(asked).rejects.toThrow(
    /no room for 5120 MiB more: 6144 MiB are promised to volumes .* of 10240 MiB \(overcommit 1\), so 4096 MiB are left/,
  );
  expect(isDone).toBe(false);
});

test('the setting overcommit allows more', async () => {
  await expect(roomFor(1).during(driver, 4 * gib, lock, nothing)).resolves.toBe('done');
  await expect(roomFor(2).during(driver, 14 * gib, lock, nothing)).resolves.toBe('done');
  await expect(roomFor(2).during(driver, 15 * gib, lock, nothing)).rejects.toThrow(
    /14336 MiB are left/,
  );
  await expect(roomFor(0.5).during(driver, gib, lock, nothing)).rejects.toThrow(
    /so 0 MiB are left/,
  );
});

test('what another host has in its own memory takes no room here', async () => {
  const inMemory = { ...driver, capabilities: { ...driver.capabilities, hostOnly: true } };
  const catalog = { list: () => [record('db', 6 * gib)] };
  const here = (host: string) => new PoolRoom({ catalog, overcommit: 1, host, clock });
  await expect(here('n1').during(inMemory, 8 * gib, lock, nothing)).rejects.toThrow(/6144 MiB/);
  await expect(here('n2').during(inMemory, 8 * gib, lock, nothing)).resolves.toBe('done');
});

test('promises that are being made count, and end with their work', async () => {
  const room = roomFor(1);
  const work = Promise.withResolvers<void>();
  const first = room.during(driver, 3 * gib, lock, () => work.promise);
  const refused = room.during(driver, 3 * gib, lock, nothing);
  await Promise.all([
    expect(refused).rejects.toThrow(
      /6144 MiB are promised to volumes, 3072 MiB to operations that are under way, and .* Try again when those/,
    ),
    clock.pass(5_000),
  ]);
  work.resolve();
  await first;
  await expect(room.during(driver, 3 * gib, lock, nothing)).resolves.toBe('done');
});

test('what would be refused is done after room was made for the missing bytes, or for as many as it takes', async () => {
  const asked: number[] = [];
  let free = 7 * gib; // 3 GiB are in the trash.
  const filled = { ...driver, pool: { ...pool, space: async () => space(10 * gib, free) } };
  const makeRoom = async (_: VolumeDriver, bytes: number) => {
    asked.push(bytes / gib);
    if (free + bytes > 10 * gib) return false;
    free += gib;
    return true;
  };
  const catalog = { list: () => [record('db', 6 * gib)] };
  const room = new PoolRoom({ catalog, overcommit: 1, host: 'n1', clock, makeRoom });
  await expect(room.during(filled, gib, lock, nothing)).resolves.toBe('done');
  expect(asked).toEqual([]);
  await expect(room.during(filled, 3 * gib, lock, nothing)).resolves.toBe('done');
  expect(asked).toEqual([2, 1]);
  await expect(room.during(filled, 5 * gib, lock, nothing)).rejects.toThrow(/3072 MiB are left/);
  expect(asked).toEqual([2, 1, 2]);
});
