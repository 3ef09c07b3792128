// What a mount table shows of a volume: tables as kernels write them, no process.

import { expect, test } from '@jest/globals';
import { parseMountInfo } from '../../../../lib/linux/mountinfo.ts';
import {
  identityIn,
  pathThrough,
  showsAsItsOwn,
  soughtVolumes,
} from '../../../../sentinel/scan/volume-views.ts';

const mountpoint = '/var/lib/berth/mounts/db';

/** The host: `db` is a directory of its disk, `img` a file system of its own. */
const host = parseMountInfo(`27 1 254:0 / / rw - ext4 /dev/vda rw
40 27 254:0 /vol/db/data ${mountpoint} rw - ext4 /dev/vda rw
41 27 7:1 / /var/lib/berth/mounts/img rw - ext4 /dev/loop1 rw
`);
const container = `100 90 0:60 / / rw - overlay overlay rw
101 100 254:0 /docker/1/hosts /etc/hosts rw - ext4 /dev/vda rw
`;

const [db, img] = soughtVolumes(host, [
  { volume: 'db', mountpoint },
  { volume: 'img', mountpoint: '/var/lib/berth/mounts/img' },
]);
if (!db || !img) throw new Error('the volumes are mounted');

const shown = (table: string, hosts = [host]) =>
  [db, img].filter((sought) => showsAsItsOwn(parseMountInfo(table), sought, hosts));

test('knows what is mounted, also by an earlier identity', () => {
  expect(identityIn(host, mountpoint)).toEqual({ device: '254:0', root: '/vol/db/data' });
  expect(identityIn(host, '/nowhere')).toBeUndefined();
  const identity = { device: '7:9', root: '/' };
  const gone = { volume: 'gone', mountpoint: '/var/lib/berth/mounts/gone' };
  expect(soughtVolumes(host, [gone])).toEqual([]);
  expect(soughtVolumes(host, [{ ...gone, identity }])).toEqual([
    { volume: 'gone', identity, places: new Set([`254:0 ${gone.mountpoint}`]) },
  ]);
});

test('a container without a volume shows none, though its files are on the same disk', () => {
  expect(shown(container)).toEqual([]);
});

test('a container shows a volume, or a part of it, at any path', () => {
  expect(shown(`${container}102 100 254:0 /vol/db/data /data rw - ext4 d rw\n`)).toEqual([db]);
  expect(shown(`${container}102 100 254:0 /vol/db/data/a /a rw - ext4 d rw\n`)).toEqual([db]);
  expect(shown(`${container}102 100 7:1 / /data ro - ext4 d rw\n`)).toEqual([img]);
  expect(shown(`${container}102 100 254:0 /vol/db/data2 /data rw - ext4 d rw\n`)).toEqual([]);
});

test('a path that ends like the mountpoint hides nothing', () => {
  const any = `/any${mountpoint}`;
  expect(shown(`${container}102 100 254:0 /vol/db/data ${any} rw - ext4 d rw\n`)).toEqual([db]);
  expect(shown(`${container}102 100 254:0 /vol/db/data ${mountpoint} rw - ext4 d rw\n`)).toEqual([
    db,
  ]);
});

test("a monitor: a view of the whole host, or of a part of it, shows the host's own mounts only", () => {
  expect(
    shown(`${container}102 100 254:0 / /rootfs ro - ext4 d rw
103 102 254:0 /vol/db/data /rootfs${mountpoint} ro - ext4 d rw
104 102 7:1 / /rootfs/var/lib/berth/mounts/img ro - ext4 d rw
`),
  ).toEqual([]);
  expect(
    shown(`${container}102 100 254:0 /var/lib /hostlib ro - ext4 d rw
103 102 254:0 /vol/db/data /hostlib/berth/mounts/db ro - ext4 d rw
`),
  ).toEqual([]);
  // A monitor that has the volume, too, is a user of it.
  expect(
    shown(`${container}102 100 254:0 / /rootfs ro - ext4 d rw
103 102 254:0 /vol/db/data /rootfs${mountpoint} ro - ext4 d rw
104 100 254:0 /vol/db/data /data rw - ext4 d rw
`),
  ).toEqual([db]);
});

test('a table below another root does not say what the mount stands on: it shows the volume', () => {
  expect(shown(`102 100 254:0 /vol/db/data / rw - ext4 d rw\n`)).toEqual([db]);
});

test("a copy of docker cp's mount in a monitor is the host's; the container's own is not", () => {
  const merged = '/var/lib/docker/overlay2/1/merged';
  const copying = parseMountInfo(`27 1 254:0 / / rw - ext4 /dev/vda rw
40 27 254:0 /vol/db/data ${mountpoint} rw - ext4 /dev/vda rw
50 27 0:60 / ${merged} rw - overlay overlay rw
51 50 254:0 /vol/db/data ${merged}/data rw - ext4 /dev/vda rw
`);
  const own = `100 90 0:60 / / rw - overlay overlay rw
101 100 254:0 /vol/db/data /data rw - ext4 d rw
`;
  const monitor = `200 190 0:61 / / rw - overlay overlay rw
201 200 254:0 / /rootfs ro - ext4 d rw
202 201 0:60 / /rootfs${merged} rw - overlay overlay rw
203 202 254:0 /vol/db/data /rootfs${merged}/data rw - ext4 d rw
`;
  expect(shown(own, [copying])).toEqual([db]);
  expect(shown(monitor, [copying])).toEqual([]);
});

test('knows the path of a volume below a mount that shows more', () => {
  const [root, ownMount, image] = host;
  const through = (mount = root) => mount && pathThrough(mount, db);
  expect(through()).toBe('/vol/db/data');
  expect(through(ownMount)).toBeUndefined();
  expect(through(image)).toBeUndefined();
  const [part] = parseMountInfo('9 1 254:0 /vol /srv rw - ext4 d rw\n');
  expect(through(part)).toBe('/srv/db/data');
});
