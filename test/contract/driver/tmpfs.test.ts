// The tmpfs driver: volumes in the memory of this machine, with real mounts. Needs root.
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { tmpfsDriver } from '../../../lib/volumes/drivers/tmpfs/driver.ts';
import type { DriverBench, OptionTrial } from '../bench/driver-bench.ts';
import { command, never } from '../bench/driver-bench.ts';
import { volumeDriverContract } from './volume-driver.ts';

const size: OptionTrial = {
  good: { '3M': String(3 * 2 ** 20), '5000': '8192' },
  bad: ['', '0', '-1', 'half', '50%', '1M,huge=always'],
  shows: async ({ root }) =>
    (await command('df', ['--output=size', '--block-size=1', root])).trim().split(/\s+/).at(-1),
};

volumeDriverContract(
  'the tmpfs driver',
  {
    ...{ driverName: 'tmpfs', makeDriver: tmpfsDriver, pool: 'ext4' },
    ...{ options: { size: '32M' }, trials: { size } },
  },
  tmpfsTests,
);

function tmpfsTests(bench: () => DriverBench): void {
  test('a volume is empty, with its size and its owner, after its host has started again', async () => {
    const { driver } = bench();
    const options = driver.parseOptions({ size: '4M', uid: '999', mode: '0700' });
    const volume = { name: 'db', options };
    await driver.create(volume, never);
    await bench().inside(volume, (root) => command('touch', [join(root, 'file')]));
    await command('umount', [join(bench().storageDir, 'db', 'data')]);
    await expect(driver.storage.find('db')).resolves.toMatchObject({
      content: 'empty',
      options: { size: String(4 * 2 ** 20), 'mount-options': 'nosuid,nodev' },
    });
    const see = (root: string) => command('sh', ['-c', `ls ${root}; stat -c %u:%a ${root}`]);
    await expect(bench().restarted().usage(volume, undefined)).resolves.toEqual({
      ...{ usedBytes: 0, sizeBytes: 4 * 2 ** 20 },
    });
    await expect(bench().inside(volume, see)).resolves.toBe('999:700\n');
  });

  test('a volume becomes larger, mounted or with its next mount, and keeps its content', async () => {
    const { driver } = bench();
    const { volume, mountpoint } = await bench().mounted('db');
    await command('touch', [join(mountpoint, 'file')]);
    const sized = (size: string) => ({ ...volume, options: { ...volume.options, size } });
    const [larger, largest] = [sized(String(40 * 2 ** 20)), sized(String(48 * 2 ** 20))];
    const see = async (at: string) => {
      const bytes = await command('df', ['--output=size', '--block-size=1', at]);
      const words = await command('findmnt', ['-n', '-o', 'VFS-OPTIONS', '-T', at]);
      return { bytes: Number(bytes.trim().split(/\s+/).at(-1)), words: words.trim().split(',') };
    };
    const { words } = await see(mountpoint);
    for (const _ of ['once', 'again']) {
      await driver.grow?.(larger, mountpoint, never);
      await expect(see(mountpoint)).resolves.toEqual({ bytes: 40 * 2 ** 20, words });
    }
    await driver.grow?.(volume, mountpoint, never); // An older attempt makes it no smaller.
    await expect(see(mountpoint)).resolves.toEqual({ bytes: 40 * 2 ** 20, words });
    await driver.unmount(volume, mountpoint, never);
    await driver.grow?.(largest, mountpoint, never);
    await driver.mount(largest, mountpoint, never);
    await expect(see(mountpoint)).resolves.toEqual({ bytes: 48 * 2 ** 20, words });
    await expect(command('ls', [mountpoint])).resolves.toBe('file\n');
    await driver.unmount(volume, mountpoint, never);
    await expect(driver.storage.find('db')).resolves.toMatchObject({
      options: { size: String(48 * 2 ** 20) },
    });
  });

  test('a volume holds no more than its size, and its memory is free after a remove', async () => {
    const { driver } = bench();
    const { volume, mountpoint } = await bench().mounted('db');
    const fill = ['if=/dev/zero', `of=${join(mountpoint, 'fill')}`, 'bs=1M', 'count=40'];
    await expect(command('dd', fill)).rejects.toThrow('No space left on device');
    await expect(driver.occupied(volume)).resolves.toMatchObject({ volumeBytes: 32 * 2 ** 20 });
    await driver.unmount(volume, mountpoint, never);
    await driver.remove(volume, never);
    await expect(command('findmnt', ['--list', '--output', 'TARGET'])).resolves.not.toContain(
      bench().storageDir,
    );
  });
}
