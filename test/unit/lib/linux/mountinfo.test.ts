// Parsing /proc/PID/mountinfo: lines as kernels write them, and this machine's own.

import { describe, expect, test } from '@jest/globals';
import { isMountpoint, mountsAt, parseMountInfo } from '../../../../lib/linux/mountinfo.ts';

const tail = 'ext4 /dev/vda rw,errors=remount-ro';

describe('a line of mountinfo', () => {
  test.each([
    ['no optional field', `22 1 254:0 / / rw,relatime - ${tail}`, []],
    ['one', `22 1 254:0 / / rw,relatime shared:1 - ${tail}`, ['shared:1']],
    ['two', `22 1 254:0 / / rw,relatime shared:2 master:1 - ${tail}`, ['shared:2', 'master:1']],
    ['one without a value', `22 1 254:0 / / rw,relatime unbindable - ${tail}`, ['unbindable']],
  ])('defect B2: is parsed with %s', (_, line, optionalFields) => {
    expect(parseMountInfo(`${line}\n`)).toEqual([
      {
        id: 22,
        parentId: 1,
        device: '254:0',
        root: '/',
        mountpoint: '/',
        options: ['rw', 'relatime'],
        optionalFields,
        fsType: 'ext4',
        source: '/dev/vda',
        superOptions: ['rw', 'errors=remount-ro'],
      },
    ]);
  });

  test.each([
    ['a space', '/mnt/my\\040data', '/mnt/my data'],
    ['a tab', '/mnt/a\\011b', '/mnt/a\tb'],
    ['a newline', '/mnt/a\\012b', '/mnt/a\nb'],
    ['a backslash before digits', '/mnt/a\\134040b', '/mnt/a\\040b'],
    ['a number sign', '/mnt/\\043b', '/mnt/#b'],
    ['other letters', '/mnt/größe', '/mnt/größe'],
  ])('is parsed with %s in its paths', (_, written, meant) => {
    const [mount] = parseMountInfo(`1 2 0:1 ${written} ${written} rw - tmpfs ${written} rw`);
    expect(mount).toMatchObject({ root: meant, mountpoint: meant, source: meant });
  });

  test('may have an empty source', () => {
    const [mount] = parseMountInfo('1 2 0:1 / /mnt rw shared:1 - tmpfs  rw,size=4k');
    expect(mount).toMatchObject({ fsType: 'tmpfs', source: '', superOptions: ['rw', 'size=4k'] });
  });

  test('may have a source that is a hyphen', () => {
    const [mount] = parseMountInfo('1 2 0:1 / /mnt rw - fuse - rw');
    expect(mount).toMatchObject({ fsType: 'fuse', source: '-' });
  });

  test.each(['nonsense', '1 2 0:1 / /mnt rw shared:1', '1 2 0:1 / /mnt rw - tmpfs'])(
    'is refused when it is %j',
    (line) => {
      expect(() => parseMountInfo(line)).toThrow(line);
    },
  );
});

describe('the mounts at a path', () => {
  const mounts = parseMountInfo(
    [
      '30 1 0:1 / / rw - ext4 /dev/vda rw',
      '33 32 0:4 / /mnt/v rw - tmpfs top rw',
      '31 30 0:2 / /mnt/v rw - tmpfs bottom rw',
      '32 31 0:3 / /mnt/v rw - tmpfs middle rw',
      '34 30 0:5 / /mnt/volume rw - tmpfs neighbour rw',
    ].join('\n'),
  );

  test('are listed from the lowest to the visible one, whatever the order of the lines', () => {
    const sources = mountsAt(mounts, '/mnt/v').map((mount) => mount.source);
    expect(sources).toEqual(['bottom', 'middle', 'top']);
  });

  test('do not include those of a path that only begins alike, or of a directory below', () => {
    expect(mountsAt(mounts, '/mnt')).toEqual([]);
    expect(mountsAt(mounts, '/mnt/vol')).toEqual([]);
  });
});

test('the kernel tells whether a directory is a mountpoint', async () => {
  await expect(isMountpoint('/proc')).resolves.toBe(true);
  await expect(isMountpoint('/proc/self')).resolves.toBe(false);
  await expect(isMountpoint('/proc/no/such/thing')).resolves.toBe(false);
});
