// What descriptors, roots and working directories reach, by the number of their mount.

import { expect, test } from '@jest/globals';
import { parseMountInfo } from '../../../../lib/linux/mountinfo.ts';
import { heldVolumes } from '../../../../sentinel/scan/held-volumes.ts';
import { holds, SharedHoldings } from '../../../../sentinel/scan/holdings.ts';
import { soughtVolumes } from '../../../../sentinel/scan/volume-views.ts';

const host = parseMountInfo(`27 1 254:0 / / rw - ext4 /dev/vda rw
40 27 254:0 /vol/db/data /mounts/db rw - ext4 /dev/vda rw
`);
const container = parseMountInfo(`100 90 0:60 / / rw - overlay overlay rw
102 100 254:0 /vol/db/data /data rw - ext4 d rw
103 100 254:0 /vol/db/data /backup ro - ext4 d rw
`);
const monitor = parseMountInfo(`200 190 0:61 / / rw - overlay overlay rw
201 200 254:0 / /rootfs rw - ext4 d rw
202 201 254:0 /vol/db/data /rootfs/mounts/db rw - ext4 d rw
`);
const sought = soughtVolumes(host, [{ volume: 'db', mountpoint: '/mounts/db' }]);

const tables = {
  has: (id: number) => tables.mountOf(id) !== undefined || id === 15,
  mountOf: (id: number) => {
    const all = [host, container, monitor].flatMap((table) =>
      table.map((mount) => ({ mount, table })),
    );
    return all.find(({ mount }) => mount.id === id);
  },
};
const held = (mountId: number, bits: number) =>
  heldVolumes(new Map([[mountId, bits]]), sought, tables, [host]);
const counts = (mountId: number, bits: number) =>
  held(mountId, bits).map((each) => (each.is === 'unknown' ? [] : each.bits));

const { forReading, forWriting, directory } = holds;

test("a container's mount counts however it is held, in a container", () => {
  for (const bits of [forWriting, directory]) {
    expect(counts(102, bits)).toEqual([{ inContainer: bits, onHost: bits }]);
  }
  expect(counts(102, forReading)).toEqual([{ inContainer: forReading, onHost: 0 }]);
});

test("the host's own mount counts however a container holds it: the descriptor was passed", () => {
  const all = forReading | forWriting | directory;
  expect(counts(40, all)).toEqual([{ inContainer: all, onHost: forWriting | directory }]);
});

test("through a copy of the host's mount a monitor counts only with files open for writing", () => {
  const all = forReading | forWriting | directory;
  for (const id of [201, 202]) {
    expect(counts(id, all)).toEqual([{ inContainer: forWriting, onHost: forWriting | directory }]);
  }
});

test('a read-only mount counts only with files that are open for writing all the same', () => {
  const all = forReading | forWriting | directory;
  expect(counts(103, directory | forReading)).toEqual([{ inContainer: 0, onHost: 0 }]);
  expect(counts(103, all)).toEqual([{ inContainer: forWriting, onHost: forWriting }]);
});

test("a mount that shows more than the volume counts below the volume's path", () => {
  expect(held(27, directory)).toEqual([
    {
      is: 'more',
      sought: sought[0],
      bits: { inContainer: directory, onHost: directory },
      mountId: 27,
      path: '/vol/db/data',
    },
  ]);
});

test('a mount of another file system is nothing, one in no table is unknown', () => {
  expect(held(100, forWriting)).toEqual([]);
  expect(held(15, forWriting)).toEqual([]);
  expect(held(999, forReading)).toEqual([{ is: 'unknown', mountId: 999 }]);
});

test('equal holdings are one, until they are forgotten', () => {
  const shared = new SharedHoldings();
  const one = shared.of(new Map([[1, 2], [3, 4]])); // biome-ignore format: pairs
  const two = shared.of(new Map([[3, 4], [1, 2]])); // biome-ignore format: pairs
  expect(two).toBe(one);
  expect(shared.of(new Map([[1, 2]]))).not.toBe(one);
  shared.keep([one]);
  expect(shared.of(new Map(one))).toBe(one);
  shared.keep([]);
  expect(shared.of(new Map(one))).not.toBe(one);
});
