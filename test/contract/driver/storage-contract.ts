import { mkdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import type { DriverBench } from '../bench/driver-bench.ts';
import { never } from '../bench/driver-bench.ts';

/** Checks `storage`, which lists volumes and what interrupted work has left. */
export function storageContract(bench: () => DriverBench): void {
  test('lists nothing before the first volume', async () => {
    const { storage } = bench().driver;
    await expect(storage.names()).resolves.toEqual([]);
    await expect(storage.find('db')).resolves.toBeUndefined();
    await expect(storage.leftovers()).resolves.toEqual([]);
    await storage.sweep();
  });

  test('lists the volumes with their options and snapshots', async () => {
    const { driver } = bench();
    const { storage } = driver;
    const volume = await bench().created('db');
    await bench().created('another');
    await expect(storage.names()).resolves.toEqual(['another', 'db']);
    for (const snapshot of ['monday', 'tuesday'])
      await driver.snapshot({ volume, snapshot }, never);
    await expect(storage.find('db')).resolves.toEqual({
      name: 'db',
      options: volume.options,
      content: expect.stringMatching(/^(empty|some)$/),
      isTorn: false,
      isFreshCopy: false,
      snapshots: ['monday', 'tuesday'],
      changedAt: expect.stringMatching(/^20/),
    });
    await driver.remove(volume, never);
    await expect(storage.find('db')).resolves.toBeUndefined();
  });

  test('never reports a volume with content as empty, mounted or not', async () => {
    const { driver } = bench();
    const { volume, mountpoint } = await bench().mounted('db');
    await writeFile(join(mountpoint, 'file'), 'content');
    await expect(driver.storage.find('db')).resolves.toMatchObject({ content: 'some' });
    await driver.clone({ volume, mountpoint }, bench().volume('copy'), never);
    await driver.unmount(volume, mountpoint, never);
    for (const name of ['db', 'copy']) {
      await expect(driver.storage.find(name)).resolves.toMatchObject({ content: 'some' });
    }
  });

  test('tells a copy to which nobody can have written from one that was mounted', async () => {
    const { driver } = bench();
    const volume = await bench().created('db');
    await driver.clone({ volume }, bench().volume('copy'), never);
    await expect(driver.storage.find('copy')).resolves.toMatchObject({ isFreshCopy: true });
    await bench().inside(bench().volume('copy'), async () => {});
    await expect(driver.storage.find('copy')).resolves.toMatchObject({ isFreshCopy: false });
  });

  test('lists leftovers that nobody works on any more, and sweeps them', async () => {
    const { storage } = bench().driver;
    await bench().created('db');
    const [old, fresh] = ['.tmp-old', '.tmp-fresh'].map((name) => join(bench().storageDir, name));
    if (old === undefined || fresh === undefined) return;
    await mkdir(join(old, 'volume'), { recursive: true });
    await mkdir(fresh);
    const since = new Date(Date.now() - 25 * 60 * 60 * 1000);
    await utimes(old, since, since);
    await expect(storage.leftovers()).resolves.toEqual([{ what: old, since: since.toISOString() }]);
    await storage.sweep();
    await expect(storage.leftovers()).resolves.toEqual([]);
    await expect(bench().leftovers()).resolves.toEqual(['.tmp-fresh']);
  });
}
