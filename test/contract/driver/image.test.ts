// The image driver: real images with ext4 and xfs on real file systems, loop devices and mounts;
// real time. Needs root.
import { open, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { currentMountsAt } from '../../../lib/linux/mountinfo.ts';
import { imageDriver } from '../../../lib/volumes/drivers/image/driver.ts';
import type { FileSystem } from '../../../lib/volumes/drivers/image/image-file.ts';
import { InUseError, InvalidRequestError } from '../../../lib/volumes/errors.ts';
import type { DriverBench, MountedTrial, OptionTrial } from '../bench/driver-bench.ts';
import { command, never } from '../bench/driver-bench.ts';
import { abandonTests } from './image-abandon-tests.ts';
import { copiesTests } from './image-copies-tests.ts';
import { growTests } from './image-grow-tests.ts';
import { hostsTests } from './image-hosts-tests.ts';
import { imageTakeoverTests, lateWritesTests, takeoverContract } from './takeover-contract.ts';
import { volumeDriverContract } from './volume-driver.ts';

for (const [fs, pool] of [
  ['ext4', 'ext4'],
  ['ext4', 'xfs'],
  ['xfs', 'btrfs'],
] as const) {
  const options = { size: '400M', fs };
  const fixture = {
    ...{ driverName: 'image', makeDriver: imageDriver, options, pool, trials: trials(fs) },
    // An xfs gets its owner in another way; all else is the same.
    ...(fs === 'xfs' && { tried: ['uid', 'mode'] }),
  };
  volumeDriverContract(`the image driver with ${fs}`, fixture, (bench) => {
    imageTests(bench);
    takeoverContract(bench);
    imageTakeoverTests(bench);
    if (pool !== 'ext4') lateWritesTests(bench);
    // One pool is enough for what concerns the file system of the image.
    if (pool !== 'xfs') {
      abandonTests(bench, fs);
      copiesTests(bench, fs);
      growTests(bench, fs);
    }
    if (pool === 'xfs') hostsTests(bench);
  });
}

function trials(fs: FileSystem): Readonly<Record<string, OptionTrial>> {
  const imageOf = ({ storageDir, volume }: MountedTrial) =>
    stat(join(storageDir, volume.name, 'volume.img'));
  return {
    size: {
      good: { '401M': String(401 * 2 ** 20) },
      bad: ['', '15M', '-1', 'much'],
      shows: async (mounted) => String((await imageOf(mounted)).size),
    },
    fs: {
      good: fs === 'ext4' ? { xfs: 'xfs' } : { ext4: 'ext4' },
      bad: ['', 'btrfs', 'EXT4'],
      shows: async ({ root }) => (await currentMountsAt(root)).at(-1)?.fsType,
    },
    reserve: {
      good: { yes: 'yes' },
      bad: ['maybe', ''],
      shows: async (mounted) => {
        const { blocks, size } = await imageOf(mounted);
        return blocks * 512 >= size ? 'yes' : undefined;
      },
    },
  };
}

describe('the options of the image driver', () => {
  const { parseOptions } = imageDriver({ volumeDir: '/nowhere' });

  test.each([
    [{}, String(2 ** 30), 'ext4'],
    [{ size: '1073741824' }, String(2 ** 30), 'ext4'],
    [{ size: '1048576k' }, String(2 ** 30), 'ext4'],
    [{ size: '1024M' }, String(2 ** 30), 'ext4'],
    [{ size: '1g' }, String(2 ** 30), 'ext4'],
    [{ size: '1GB' }, String(2 ** 30), 'ext4'],
    [{ size: '1GiB', fs: 'xfs' }, String(2 ** 30), 'xfs'],
    [{ size: '2T' }, String(2 ** 41), 'ext4'],
    [{ size: '16M' }, String(2 ** 24), 'ext4'],
    [{ size: '300M', fs: 'xfs' }, String(300 * 2 ** 20), 'xfs'],
    [{ size: '20000001' }, '20000768', 'ext4'],
  ])('%j means %s bytes of %s', (options, size, fs) => {
    expect(parseOptions(options)).toMatchObject({ size, fs });
  });

  test.each([
    [{ size: '' }, /size="" is not a size/],
    [{ size: '-1G' }, /size="-1G" is not a size/],
    [{ size: '1.5G' }, /is not a size/],
    [{ size: '1G ' }, /is not a size/],
    [{ size: '1X' }, /is not a size/],
    [{ size: '1ki' }, /is not a size/],
    [{ size: '1iB' }, /is not a size/],
    [{ size: 'big' }, /is not a size/],
    [{ size: '0' }, /out of range: use 16M to 16T/],
    [{ size: '16383k' }, /out of range: use 16M to 16T/],
    [{ size: '299M', fs: 'xfs' }, /out of range: use 300M to 16T/],
    [{ size: '17T' }, /out of range/],
    [{ size: '9'.repeat(400) }, /out of range/],
    [{ fs: 'ntfs' }, /fs="ntfs" is not possible: use ext4 or xfs/],
    [{ fs: 'EXT4' }, /use ext4 or xfs/],
    [{ color: 'red' }, /"color": use size, fs, reserve, uid, gid, mode, keep, mount-options/],
  ])('%j is refused', (options: Record<string, string>, message) => {
    expect(() => parseOptions(options)).toThrow(InvalidRequestError);
    expect(() => parseOptions(options)).toThrow(message);
  });
});

function imageTests(bench: () => DriverBench): void {
  const image = (name: string) => join(bench().storageDir, name, 'volume.img');

  test('a volume can not exceed its size', async () => {
    const { volume, mountpoint } = await bench().mounted('db');
    const fill = Buffer.alloc(410 * 2 ** 20, 1);
    await expect(writeFile(join(mountpoint, 'fill'), fill)).rejects.toThrow('ENOSPC');
    await expect(bench().driver.usage(volume, mountpoint)).resolves.toMatchObject({
      sizeBytes: 400 * 2 ** 20,
    });
    await bench().driver.unmount(volume, mountpoint, never);
  });

  test('a new image occupies little, and deleting files frees blocks', async () => {
    const { driver } = bench();
    const { volume, mountpoint } = await bench().mounted('db');
    expect((await stat(image('db'))).blocks * 512).toBeLessThan(90 * 2 ** 20);
    await writeFile(join(mountpoint, 'big'), Buffer.alloc(100 * 2 ** 20, 1), { flush: true });
    const full = await driver.usage(volume, undefined);
    await command('rm', [join(mountpoint, 'big')]);
    await driver.unmount(volume, mountpoint, never);
    const { usedBytes } = await driver.usage(volume, undefined);
    expect(full.usedBytes - usedBytes).toBeGreaterThan(90 * 2 ** 20);
  });

  test('a mounted volume refuses a second mountpoint, a remove and a restore', async () => {
    const { driver } = bench();
    const { volume, mountpoint } = await bench().mounted('db');
    await driver.snapshot({ volume, snapshot: 'monday', mountpoint }, never);
    const second = bench().mountpoint('second');
    for (const refused of [
      () => driver.mount(volume, second, never),
      () => driver.remove(volume, never),
      () => driver.restore({ volume, snapshot: 'monday' }, never),
      () => driver.clone({ volume, snapshot: 'monday' }, volume, never),
      // Without the mountpoint the file system can't be frozen.
      () => driver.snapshot({ volume, snapshot: 'tuesday' }, never),
    ]) {
      const running = refused();
      await expect(running).rejects.toThrow(InUseError);
      await expect(running).rejects.toThrow(mountpoint);
    }
    await expect(bench().mounts()).resolves.toEqual([mountpoint]);
    await driver.unmount(volume, mountpoint, never);
  });

  test('an unmount whose device a process keeps open says so, and blames no mount', async () => {
    const { driver } = bench();
    const { volume, mountpoint } = await bench().mounted('db');
    const [device] = (await bench().loopDevices()).map((line) => line.split(':')[0] ?? '');
    await using opened = await open(device ?? '');
    await expect(driver.unmount(volume, mountpoint, never)).rejects.toThrow(
      /who opened the device/,
    );
    await opened.close();
    await driver.unmount(volume, mountpoint, never);
    await expect(bench().loopDevices()).resolves.toEqual([]);
  });

  test('every clone has a UUID of its own', async () => {
    const { driver } = bench();
    const volume = await bench().created('db');
    // ext4 records in seconds when it was last mounted and checked; tune2fs compares the two.
    await sleep(1100);
    const mountpoint = bench().mountpoint('db');
    await driver.mount(volume, mountpoint, never);
    await writeFile(join(mountpoint, 'file'), 'x');
    await driver.clone({ volume, mountpoint }, bench().volume('one'), never);
    await driver.unmount(volume, mountpoint, never);
    await driver.clone({ volume }, bench().volume('two'), never);
    const uuids = await Promise.all(['db', 'one', 'two'].map((name) => uuid(image(name))));
    expect(new Set(uuids).size).toBe(3);
  });

  test('a clone into another size is refused', async () => {
    const volume = await bench().created('db');
    const target = {
      name: 'copy',
      options: bench().driver.parseOptions({ ...bench().fixture.options, size: '500M' }),
    };
    await expect(bench().driver.clone({ volume }, target, never)).rejects.toThrow(/size=/);
  });

  test('a loop device that somebody attached by hand is a leftover until it is swept', async () => {
    const { storage } = bench().driver;
    await bench().created('db');
    const device = (await command('losetup', ['--find', '--show', image('db')])).trim();
    await expect(storage.leftovers()).resolves.toEqual([{ what: device }]);
    await storage.sweep();
    await expect(bench().loopDevices()).resolves.toEqual([]);
    const { mountpoint, volume } = await bench().mounted('db');
    await expect(storage.leftovers()).resolves.toEqual([]);
    await bench().driver.unmount(volume, mountpoint, never);
  });

  test('a file system that a crash left frozen can be recovered or unmounted', async () => {
    const { driver } = bench();
    const { volume, mountpoint } = await bench().mounted('db');
    await command('fsfreeze', ['--freeze', mountpoint]);
    await driver.recover(mountpoint, never);
    await writeFile(join(mountpoint, 'file'), 'thawed');
    await command('fsfreeze', ['--freeze', mountpoint]);
    await driver.unmount(volume, mountpoint, never);
    await expect(bench().loopDevices()).resolves.toEqual([]);
    await expect(bench().read(volume, 'file')).resolves.toBe('thawed');
  });

  test('a copy of a file system that the sentinel has frozen is refused, and does not thaw it', async () => {
    const { driver } = bench();
    const { volume, mountpoint } = await bench().mounted('db');
    await command('fsfreeze', ['--freeze', mountpoint]);
    const copying = driver.snapshot({ volume, snapshot: 'monday', mountpoint }, never);
    await expect(copying).rejects.toThrow('is frozen already');
    await expect(command('fsfreeze', ['--freeze', mountpoint])).rejects.toThrow('busy');
    await driver.recover(mountpoint, never);
    await driver.unmount(volume, mountpoint, never);
  });

  test.each(['unmount', 'abandon'] as const)(
    'a file system that was frozen at its unmount is released by %s',
    async (how) => {
      const { driver } = bench();
      const { volume, mountpoint } = await bench().mounted('db');
      await writeFile(join(mountpoint, 'file'), 'flushed');
      await command('fsfreeze', ['--freeze', mountpoint]);
      await command('umount', [mountpoint]);
      await expect(bench().loopDevices()).resolves.not.toEqual([]);
      await driver[how](volume, mountpoint, never);
      await expect(bench().loopDevices()).resolves.toEqual([]);
      await expect(bench().read(volume, 'file')).resolves.toBe('flushed');
    },
  );
}

async function uuid(image: string): Promise<string> {
  return (await command('blkid', ['-p', '-s', 'UUID', '-o', 'value', image])).trim();
}
