// The directory driver on ext4, xfs and btrfs: real file systems on loop devices, real mounts and
// copies; real time. Needs root.
import {
  link,
  lstat,
  mkdir,
  readdir,
  readFile,
  rename,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { directoryDriver } from '../../../lib/volumes/drivers/directory/driver.ts';
import { InvalidRequestError } from '../../../lib/volumes/errors.ts';
import { waitFor } from '../../support/processes.ts';
import type { DriverBench } from '../bench/driver-bench.ts';
import { command, never } from '../bench/driver-bench.ts';
import { volumeDriverContract } from './volume-driver.ts';

for (const pool of ['ext4', 'xfs', 'btrfs'] as const) {
  const fixture = { driverName: 'directory', makeDriver: directoryDriver, options: {}, pool };
  volumeDriverContract('the directory driver', fixture, directoryTests);
}

function directoryTests(bench: () => DriverBench): void {
  test('a size is refused with the name of the driver that has one', () => {
    expect(() => bench().driver.parseOptions({ size: '1G' })).toThrow(InvalidRequestError);
    expect(() => bench().driver.parseOptions({ size: '1G' })).toThrow(/image driver/);
  });

  test('a copy keeps owners, modes, times, attributes, links and holes', async () => {
    const volume = await bench().created('db');
    await bench().inside(volume, async (path) => {
      await writeFile(join(path, 'file'), 'x', { mode: 0o640 });
      await command('chown', ['1000:1001', join(path, 'file')]);
      await command('setfattr', ['-n', 'user.colour', '-v', 'green', join(path, 'file')]);
      await link(join(path, 'file'), join(path, 'hard'));
      await symlink('nowhere', join(path, 'soft'));
      await command('mkfifo', [join(path, 'pipe')]);
      await truncate(join(path, 'file'), 2 ** 30);
      await utimes(join(path, 'file'), 1, 2);
      await command('chown', ['999:999', path]);
    });
    const copy = bench().volume('copy');
    await bench().driver.clone({ volume }, copy, never);
    await bench().inside(copy, async (path) => {
      const file = await stat(join(path, 'file'));
      expect(file).toMatchObject({ uid: 1000, gid: 1001, size: 2 ** 30, nlink: 2, mtimeMs: 2000 });
      expect(file.mode & 0o777).toBe(0o640);
      expect(file.blocks * 512).toBeLessThan(2 ** 20);
      expect((await stat(join(path, 'hard'))).ino).toBe(file.ino);
      expect((await lstat(join(path, 'soft'))).isSymbolicLink()).toBe(true);
      expect((await lstat(join(path, 'pipe'))).isFIFO()).toBe(true);
      expect((await stat(path)).uid).toBe(999);
      await expect(
        command('getfattr', ['--only-values', '-n', 'user.colour', join(path, 'file')]),
      ).resolves.toBe('green');
    });
  });

  // A crash can leave a restore in two states between its renames.
  test.each([
    ['before the new content was in place: the old content returns', undefined, 'old'],
    ['after the new content was in place: the new content stays', 'new', 'new'],
  ])('a restore that crashed %s', async (_, data, expected) => {
    const volume = await bench().created('db');
    const home = join(bench().storageDir, 'db');
    await writeFile(join(home, 'data', 'state'), 'old');
    await rename(join(home, 'data'), join(home, 'data.old'));
    if (data !== undefined) {
      await mkdir(join(home, 'data'));
      await writeFile(join(home, 'data', 'state'), data);
    }
    await expect(bench().driver.usage(volume, undefined)).resolves.toBeDefined();
    await expect(bench().read(volume, 'state')).resolves.toBe(expected);
    await bench().driver.create(volume, never);
    await expect(bench().read(volume, 'state')).resolves.toBe(expected);
    await expect(readdir(home)).resolves.toEqual(['data', 'snapshots']);
  });

  test('a sweep removes abandoned directories, and none that a live process uses', async () => {
    await bench().driver.create(bench().volume('db'), never);
    const elsewhere = '.tmp-0123456789abcdef.1.2.3-';
    const dead = await deadProcessPrefix();
    const old = new Date(Date.now() - 25 * 60 * 60 * 1000);
    for (const name of [`${elsewhere}young`, `${elsewhere}old`, `${dead}here`, '.other']) {
      await mkdir(join(bench().storageDir, name, 'content'), { recursive: true });
    }
    await utimes(join(bench().storageDir, `${elsewhere}old`), old, old);

    await bench().restarted().create(bench().volume('another'), never);
    await waitFor(
      async () => (await bench().leftovers()).length === 2,
      5000,
      'the abandoned directories to be swept',
    );
    await expect(bench().leftovers()).resolves.toEqual(
      expect.arrayContaining(['.other', `${elsewhere}young`]),
    );
  });

  test('a sweep does not delete inside a mount', async () => {
    const { volume, mountpoint } = await bench().mounted('db');
    await writeFile(join(mountpoint, 'precious'), 'kept');
    const inside = join(bench().storageDir, `${await deadProcessPrefix()}here`, 'mountpoint');
    await mkdir(inside, { recursive: true });
    await command('mount', ['--bind', mountpoint, inside]);
    await bench().restarted().create(bench().volume('another'), never);
    await waitFor(async () => (await bench().leftovers()).length === 0, 5000, 'the sweep');
    await expect(readFile(join(mountpoint, 'precious'), 'utf8')).resolves.toBe('kept');
    await bench().driver.unmount(volume, mountpoint, never);
  });
}

/** Returns the prefix of temporary directories of a dead process of this machine. */
async function deadProcessPrefix(): Promise<string> {
  const bootId = await readFile('/proc/sys/kernel/random/boot_id', 'utf8');
  const { ino } = await stat('/proc/self/ns/pid');
  return `.tmp-${bootId.trim().replaceAll('-', '')}.${ino}.1.99-`;
}
