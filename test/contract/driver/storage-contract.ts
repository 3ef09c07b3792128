import { mkdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import type { DriverBench, DriverFixture } from '../bench/driver-bench.ts';
import { capabilitiesOf, never } from '../bench/driver-bench.ts';

/** Checks `storage`, which lists volumes and what interrupted work has left. */
export function storageContract(bench: () => DriverBench, fixture: DriverFixture): void {
  const { copies } = capabilitiesOf(fixture);

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
    const snapshots = copies ? ['monday', 'tuesday'] : [];
    for (const snapshot of snapshots) await driver.snapshot({ volume, snapshot }, never);
    await expect(storage.find('db')).resolves.toEqual({
      name: 'db',
      options: expect.any(Object),
      content: expect.stringMatching(/^(empty|some)$/),
      isTorn: false,
      isFreshCopy: false,
      snapshots,
      changedAt: expect.stringMatching(/^20/),
    });
    await driver.remove(volume, never);
    await expect(storage.find('db')).resolves.toBeUndefined();
  });

  test('security E2: refuses a name that leads out of its storage, and touches nothing there', async () => {
    const { driver, storageDir } = bench();
    const db = await bench().created('db');
    const victim = join(storageDir, '../victim');
    await mkdir(join(victim, 'data'), { recursive: true });
    await writeFile(join(victim, 'data/precious'), 'precious');
    const mountpoint = join(storageDir, '../mountpoint');
    for (const name of ['../victim', '.', '..', '', 'db/../../victim']) {
      const volume = { ...db, name };
      const calls = [
        () => driver.create(volume, never),
        () => driver.remove(volume, never),
        () => driver.mount(volume, mountpoint, never),
        () => driver.rename(volume, 'other', never),
        () => driver.rename(db, name, never),
        () => driver.storage.find(name),
        ...(copies
          ? [
              () => driver.removeSnapshot({ volume: db, snapshot: `../../${name}` }, never),
              () => driver.clone({ volume: db }, volume, never),
            ]
          : []),
      ];
      for (const call of calls)
        await expect(call()).rejects.toThrow(/can't be the name of a volume/);
    }
    await expect(readFile(join(victim, 'data/precious'), 'utf8')).resolves.toBe('precious');
    await rm(victim, { recursive: true });
    await driver.remove(db, never);
  });

  test('security E2: mounts nothing with words that no user may give', async () => {
    const { driver } = bench();
    const volume = await bench().created('db');
    const options = { ...volume.options, 'mount-options': 'nosuid,subdir=etc' };
    const mountpoint = join(bench().storageDir, '../mountpoint');
    await expect(driver.mount({ ...volume, options }, mountpoint, never)).rejects.toThrow(
      /the record of volume db has options that its driver can't use .*subdir=etc/,
    );
    await driver.remove(volume, never);
  });

  test('tells whether it has made the storage of a volume or found it', async () => {
    const { driver } = bench();
    const volume = bench().volume('db');
    await expect(driver.create(volume, never)).resolves.toBe('made');
    await expect(driver.create(volume, never)).resolves.toBe('found');
    await driver.remove(volume, never);
    await expect(driver.create(volume, never)).resolves.toBe('made');
    await expect(bench().leftovers()).resolves.toEqual([]);
  });

  test('never reports a volume with content as empty, mounted or not', async () => {
    const { driver } = bench();
    const { volume, mountpoint } = await bench().mounted('db');
    await writeFile(join(mountpoint, 'file'), 'content');
    await expect(driver.storage.find('db')).resolves.toMatchObject({ content: 'some' });
    if (copies) await driver.clone({ volume, mountpoint }, bench().volume('copy'), never);
    await driver.unmount(volume, mountpoint, never);
    for (const name of copies ? ['db', 'copy'] : ['db']) {
      await expect(driver.storage.find(name)).resolves.toMatchObject({ content: 'some' });
    }
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

  if (!copies) return;

  test('tells a copy to which nobody can have written from one that was mounted', async () => {
    const { driver } = bench();
    const volume = await bench().created('db');
    await driver.clone({ volume }, bench().volume('copy'), never);
    await expect(driver.storage.find('copy')).resolves.toMatchObject({ isFreshCopy: true });
    await bench().inside(bench().volume('copy'), async () => {});
    await expect(driver.storage.find('copy')).resolves.toMatchObject({ isFreshCopy: false });
  });
}
