import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import type { FileSystem } from '../../../lib/volumes/drivers/image/image-file.ts';
import { InUseError } from '../../../lib/volumes/errors.ts';
import type { DriverBench } from '../bench/driver-bench.ts';
import { command, never } from '../bench/driver-bench.ts';

const program = new URL('operation.ts', import.meta.url).pathname;

/** Checks that an image no longer changes once another host may use it. */
export function abandonTests(bench: () => DriverBench, fs: FileSystem): void {
  const image = () => join(bench().storageDir, 'db', 'volume.img');

  /** Mounts a volume and writes much that is not flushed yet. */
  async function dirty() {
    const mounted = await bench().mounted('db');
    const { mountpoint } = mounted;
    await writeFile(join(mountpoint, 'old'), Buffer.alloc(8 * 2 ** 20, 1));
    await command('sync', ['--file-system', mountpoint]);
    for (let n = 0; n < 100; n++) await mkdir(join(mountpoint, `directory-${n}`));
    await writeFile(join(mountpoint, 'new'), Buffer.alloc(8 * 2 ** 20, 2));
    return mounted;
  }

  test.each([true, false])(
    'an abandoned image (frozen: %s) is unchanged and can be mounted again',
    async (isFrozen) => {
      const { driver } = bench();
      const { volume, mountpoint } = await dirty();
      if (isFrozen) await command('fsfreeze', ['--freeze', mountpoint]);
      await using before = await copyOf(image());
      await driver.abandon(volume, mountpoint, never);
      await command('cmp', [before.path, image()]);
      await expect(bench().loopDevices()).resolves.toEqual([]);
      const seen = await bench().inside(volume, async (path) => [
        (await stat(join(path, 'old'))).size,
        (await readdir(path)).length,
      ]);
      expect(seen).toEqual([8 * 2 ** 20, isFrozen ? 102 : expect.any(Number)]);
      await check(fs, image());
    },
  );

  test('a writer of an abandoned image gets errors, and the image does not change', async () => {
    const { driver } = bench();
    const { volume, mountpoint } = await dirty();
    await command('fsfreeze', ['--freeze', mountpoint]);
    await using before = await copyOf(image());
    const writer = spawn('sh', ['-c', 'exec 3> late; while :; do echo late >&3 || exit; done'], {
      cwd: mountpoint,
      stdio: 'ignore',
    });
    const ended = once(writer, 'exit');
    await once(writer, 'spawn');
    await driver.abandon(volume, mountpoint, never);
    expect(await ended).toEqual([expect.any(Number), null]);
    await command('cmp', [before.path, image()]);
  });

  // The tests below are the same for every file system.
  if (fs === 'xfs') return;

  test('a process that keeps using the volume keeps the image attached, and is reported', async () => {
    const { driver } = bench();
    const { volume, mountpoint } = await dirty();
    const user = spawn('sleep', ['60'], { cwd: mountpoint });
    await once(user, 'spawn');
    try {
      await expect(driver.abandon(volume, mountpoint, never)).rejects.toThrow(InUseError);
      await expect(bench().mounts()).resolves.toEqual([]);
    } finally {
      user.kill('SIGKILL');
      await once(user, 'exit');
    }
    await driver.abandon(volume, mountpoint, never);
    await expect(bench().loopDevices()).resolves.toEqual([]);
  });

  test('nothing is unmounted when the program for it is missing', async () => {
    const { volume, mountpoint } = await bench().mounted('db');
    const { volumeDir } = bench();
    const script = `mount -t tmpfs none /mnt && mkdir /mnt/upper /mnt/work &&
      mount -t overlay -o lowerdir=/usr/sbin,upperdir=/mnt/upper,workdir=/mnt/work none /usr/sbin &&
      rm /usr/sbin/xfs_io && "$@" 2>&1; mountpoint "$7"`;
    const place = ['image', volumeDir, 'abandon', JSON.stringify(volume), mountpoint];
    const operation = [process.execPath, program, ...place];
    const all = ['--mount', '--propagation', 'slave', 'sh', '-c', script, 'sh', ...operation];
    const output = await command('unshare', all);
    expect(output).toMatch(/the program xfs_io is not installed.*apt-get install xfsprogs/);
    expect(output).toContain(`${mountpoint} is a mountpoint`);
    await bench().driver.unmount(volume, mountpoint, never);
  });
}

async function copyOf(image: string) {
  const path = `${image}.before`;
  await command('cp', ['--sparse=always', image, path]);
  return { path, [Symbol.asyncDispose]: () => rm(path) };
}

/** Throws when a file system is not in the state that a crash leaves. */
async function check(fs: FileSystem, image: string): Promise<void> {
  if (fs === 'ext4') await command('e2fsck', ['-f', '-n', image]);
  else await command('xfs_repair', ['-n', image]);
}
