import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import type { DriverContext, DriverVolume } from '../../../lib/volumes/drivers/driver.ts';
import type { KeptEntry } from '../../../lib/volumes/drivers/trash.ts';
import { ExistsError, NotFoundError } from '../../../lib/volumes/errors.ts';
import type { DriverBench } from '../bench/driver-bench.ts';
import { never } from '../bench/driver-bench.ts';

/** Checks a driver without a trash: its volumes are gone when they are removed. */
export function noTrashContract(bench: () => DriverBench): void {
  test('there is none: a removed volume is gone', async () => {
    const { driver } = bench();
    expect(driver.trash).toBeUndefined();
    const volume = await bench().created('db');
    await driver.remove(volume, never);
    await expect(driver.storage.find('db')).resolves.toBeUndefined();
  });
}

/** Checks `trash`: what enters it, leaves it, or is deleted from it. */
export function trashContract(bench: () => DriverBench): void {
  const trash = () => {
    const { driver } = bench();
    if (!driver.trash) throw new Error('the driver has no trash');
    return driver.trash;
  };

  /** Makes a volume with content and a snapshot, and moves it to the trash. */
  async function removed(name: string, id: string): Promise<KeptEntry & { volume: string }> {
    const { volume, mountpoint } = await bench().mounted(name);
    await writeFile(join(mountpoint, 'state'), `of ${name}@${id}`);
    await bench().driver.unmount(volume, mountpoint, never);
    await bench().driver.snapshot({ volume, snapshot: 'monday' }, never);
    return { volume: name, id, identity: (await trash().put(volume, id, never)) ?? '' };
  }

  test('a volume enters it by a rename, and leaves it under another name with its snapshots', async () => {
    const { driver } = bench();
    const volume = await bench().created('db');
    const before = await stat(join(bench().storageDir, 'db'));
    await driver.remove(volume, never);
    const entry = await removed('db', 'a1');
    expect(entry.identity).not.toBe('');
    await expect(driver.storage.find('db')).resolves.toBeUndefined();
    await expect(driver.storage.names()).resolves.toEqual([]);
    await expect(trash().entries()).resolves.toEqual([
      { ...entry, since: expect.stringMatching(/^20/) },
    ]);
    await expect(trash().bytes(entry)).resolves.toBeGreaterThan(0);

    const other = bench().volume('other');
    await trash().takeOut(entry, other, never);
    await expect(trash().identityOf('other')).resolves.toBe(entry.identity);
    expect((await stat(join(bench().storageDir, 'other'))).dev).toBe(before.dev);
    await expect(trash().entries()).resolves.toEqual([]);
    await expect(bench().read(other, 'state')).resolves.toBe('of db@a1');
    await bench().inside(other, (path) => writeFile(join(path, 'state'), 'later'));
    await driver.restore({ volume: other, snapshot: 'monday' }, never);
    await expect(bench().read(other, 'state')).resolves.toBe('of db@a1');
    await driver.remove(other, never);
  });

  test('a volume can be made while older ones of its name are in it', async () => {
    const { driver } = bench();
    const [first, second] = [await removed('db', 'a1'), await removed('db', 'b2')];
    const volume = await bench().created('db');
    await expect(trash().entries()).resolves.toMatchObject([{ id: 'a1' }, { id: 'b2' }]);
    await expect(trash().takeOut(first, volume, never)).rejects.toThrow(ExistsError);
    await driver.remove(volume, never);
    await trash().takeOut(second, volume, never);
    await expect(bench().read(volume, 'state')).resolves.toBe('of db@b2');
  });

  test('each step can be repeated', async () => {
    const entry = await removed('db', 'a1');
    const volume = bench().volume('db');
    await expect(trash().put(volume, 'a1', never)).resolves.toBe(entry.identity);
    await trash().takeOut(entry, volume, never);
    await trash().takeOut(entry, volume, never);
    await trash().put(volume, 'a1', never);
    await trash().discard(entry, never);
    await trash().discard(entry, never);
    await expect(trash().entries()).resolves.toEqual([]);
    await expect(trash().bytes(entry)).resolves.toBe(0);
    await expect(trash().put(volume, 'a1', never)).resolves.toBeUndefined();
    await expect(trash().takeOut(entry, volume, never)).rejects.toThrow(NotFoundError);
    await expect(bench().leftovers()).resolves.toEqual(['.trash']);
  });

  test('other storage of a name is never taken for what left the trash', async () => {
    const entry = await removed('db', 'a1');
    await trash().discard(entry, never);
    await mkdir(join(bench().storageDir, 'spacer')); // So that its inode number is not used again.
    const volume = await bench().created('other');
    const else_ = { ...entry, identity: `${entry.identity}0` };
    await expect(trash().takeOut(else_, volume, never)).rejects.toThrow(NotFoundError);
  });

  test('a volume that is mounted while it is put or taken out stays as it is', async () => {
    const { driver } = bench();
    if (!driver.capabilities.ownsFileSystem) return; // The kernel shows no use of a directory.
    const { volume, mountpoint } = await bench().mounted('db');
    await writeFile(join(mountpoint, 'state'), 'mounted');
    await expect(trash().put(volume, 'a1', never)).rejects.toThrow(mountpoint);
    await expect(readFile(join(mountpoint, 'state'), 'utf8')).resolves.toBe('mounted');
    await driver.unmount(volume, mountpoint, never);
    await expect(bench().read(volume, 'state')).resolves.toBe('mounted');
  });

  test('a host that has lost its lock undoes what it has renamed', async () => {
    const volume = bench().volume('db');
    const entry = await removed('db', 'a1');
    const states: [string, (context: DriverContext) => Promise<unknown>][] = [
      ['a1', (context) => trash().takeOut(entry, volume, context)],
      ['a1', (context) => trash().discard(entry, context)],
    ];
    for (const [id, step] of states) {
      await expect(step(lostLater(1))).rejects.toThrow('the lock is lost');
      await expect(trash().entries()).resolves.toMatchObject([{ id }]);
    }
    await expect(trash().takeOut(entry, volume, lostLater(2))).rejects.toThrow('the lock is lost');
    await expect(trash().identityOf('db')).resolves.toBeUndefined();
    await trash().takeOut(entry, volume, never);
    await expect(trash().put(volume, 'b2', lostLater(1))).rejects.toThrow('the lock is lost');
    await expect(trash().entries()).resolves.toEqual([]);
    await expect(bench().read(volume, 'state')).resolves.toBe('of db@a1');
  });

  test('a host that was frozen before its rename never replaces what its successor has put there', async () => {
    await removed('db', 'a1');
    const volume: DriverVolume = await bench().created('db');
    await expect(trash().put(volume, 'a1', never)).rejects.toThrow(/ENOTEMPTY|EEXIST/);
    await expect(bench().driver.storage.find('db')).resolves.toBeDefined();
    await expect(trash().entries()).resolves.toHaveLength(1);
  });
}

/** Returns a context whose lock is lost when it is asked for that time. */
function lostLater(time: number): DriverContext {
  let asked = 0;
  const confirm = async () => {
    asked += 1;
    if (asked >= time) throw new Error('the lock is lost');
  };
  return { ...never, lock: { token: 1, confirm } };
}
