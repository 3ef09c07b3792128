// How much may be promised: pure sums, and the refusal with a driver whose figures the test sets.

import { expect, test } from '@jest/globals';
import type { VolumeDriver } from '../../../../../lib/volumes/drivers/driver.ts';
import type { PoolSpace } from '../../../../../lib/volumes/drivers/driver-pool.ts';
import { imageDriver } from '../../../../../lib/volumes/drivers/image/driver.ts';
import { UnavailableError } from '../../../../../lib/volumes/errors.ts';
import { PoolRoom, roomOf } from '../../../../../lib/volumes/pools/pool-room.ts';
import { parseRecord } from '../../../../../lib/volumes/volume.ts';

const gib = 2 ** 30;
const space = (totalBytes: number, freeBytes: number, sharesBlocks = false): PoolSpace => ({
  ...{ totalBytes, freeBytes, freeFiles: 1, sharesBlocks },
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
  parseRecord(
    JSON.stringify({
      ...{ version: 1, name, driver: 'image', access: 'host', snapshots: [], token: 1 },
      ...{ createdAt: '2026-01-02T03:04:05Z', createdBy: 'n1' },
      options: { size: String(size), fs: 'ext4' },
    }),
  );

/** A driver of images whose pool has 10 GiB, all free, and whose images are empty. */
const driver: VolumeDriver = {
  ...imageDriver({ volumeDir: '/nowhere' }),
  occupied: async () => ({ volumeBytes: 0, snapshotsBytes: [] }),
};
const { pool } = driver;
Object.assign(driver, { pool: { ...pool, space: async () => space(10 * gib, 10 * gib) } });

const roomFor = (overcommit: number) =>
  new PoolRoom({ catalog: { list: () => [record('db', 6 * gib)] }, overcommit });
const nothing = async () => 'done';

test('a promise beyond the space is refused with the figures, and nothing is done', async () => {
  let isDone = false;
  const asked = roomFor(1).during(driver, 5 * gib, async () => {
    isDone = true;
  });
  await expect(asked).rejects.toThrow(UnavailableError);
  await expect(asked).rejects.toThrow(
    /no room for 5120 MiB more: 6144 MiB are promised to volumes .* of 10240 MiB \(overcommit 1\), so 4096 MiB are left/,
  );
  expect(isDone).toBe(false);
});

test('the setting overcommit allows more', async () => {
  await expect(roomFor(1).during(driver, 4 * gib, nothing)).resolves.toBe('done');
  await expect(roomFor(2).during(driver, 14 * gib, nothing)).resolves.toBe('done');
  await expect(roomFor(2).during(driver, 15 * gib, nothing)).rejects.toThrow(/14336 MiB are left/);
  await expect(roomFor(0.5).during(driver, gib, nothing)).rejects.toThrow(/so 0 MiB are left/);
});

test('promises that are being made count, and end with their work', async () => {
  const room = roomFor(1);
  const work = Promise.withResolvers<void>();
  const first = room.during(driver, 3 * gib, () => work.promise);
  await expect(room.during(driver, 3 * gib, nothing)).rejects.toThrow(/9216 MiB are promised/);
  work.resolve();
  await first;
  await expect(room.during(driver, 3 * gib, nothing)).resolves.toBe('done');
});
