import { chown, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import type { DriverContext, DriverVolume } from '../../../lib/volumes/drivers/driver.ts';
import { ExistsError, InUseError, NotFoundError } from '../../../lib/volumes/errors.ts';
import type { DriverBench, DriverFixture } from '../bench/driver-bench.ts';
import { capabilitiesOf, never } from '../bench/driver-bench.ts';

/** Checks `rename`: all that a volume has is there under one of the two names. */
export function renameContract(bench: () => DriverBench, fixture: DriverFixture): void {
  const { copies, ownsFileSystem } = capabilitiesOf(fixture);
  const nameOf = ({ options }: DriverVolume, name: string): DriverVolume => ({ name, options });

  /** Makes a volume with content, and with a snapshot if there are any. */
  async function filled(name: string): Promise<DriverVolume> {
    const { driver } = bench();
    const volume = await bench().created(name);
    const write = (text: string) =>
      bench().inside(volume, (path) => writeFile(join(path, 'state'), text));
    await write('before');
    if (copies) await driver.snapshot({ volume, snapshot: 'monday' }, never);
    await write(`of ${name}`);
    return volume;
  }

  async function expectNamed(name: string, other: string): Promise<void> {
    const { storage } = bench().restarted();
    await expect(storage.find(other)).resolves.toBeUndefined();
    await expect(storage.find(name)).resolves.toMatchObject({
      ...{ content: 'some', isTorn: false, snapshots: copies ? ['monday'] : [] },
    });
    await expect(bench().read(bench().volume(name), 'state')).resolves.toBe('of db');
  }

  test('a renamed volume has its content, its owner and its snapshots, and a repeat changes nothing', async () => {
    const { driver } = bench();
    const volume = await filled('db');
    await bench().inside(volume, (path) => chown(path, 999, 998));
    await driver.rename(volume, 'sales', never);
    await expectNamed('sales', 'db');
    await bench().restarted().rename(volume, 'sales', never);
    await expectNamed('sales', 'db');
    const renamed = nameOf(volume, 'sales');
    const owner = await bench().inside(renamed, async (path) => {
      const { uid, gid } = await stat(path);
      return [uid, gid];
    });
    expect(owner).toEqual([999, 998]);
    if (copies) {
      await driver.restore({ volume: renamed, snapshot: 'monday' }, never);
      await expect(bench().read(renamed, 'state')).resolves.toBe('before');
    }
    await expect(driver.create(volume, never)).resolves.toBe('made');
    await driver.remove(renamed, never);
    await expect(driver.storage.names()).resolves.toEqual(['db']);
    await expect(bench().leftovers()).resolves.toEqual([]);
  });

  test('storage of both names, or of none, is a refusal that changes nothing', async () => {
    const { driver } = bench();
    const volume = await filled('db');
    await filled('sales');
    await expect(driver.rename(volume, 'sales', never)).rejects.toThrow(ExistsError);
    await expect(bench().read(bench().volume('sales'), 'state')).resolves.toBe('of sales');
    await expect(bench().read(volume, 'state')).resolves.toBe('of db');
    const nothing = nameOf(volume, 'nothing');
    await expect(driver.rename(nothing, 'more', never)).rejects.toThrow(NotFoundError);
    await expect(driver.storage.names()).resolves.toEqual(['db', 'sales']);
  });

  test.each([
    ['before the rename', 0],
    ['by the rename', 1],
  ])('a volume whose lock is lost %s has its former name', async (_when, answers) => {
    const volume = await filled('db');
    let left = answers;
    const confirm = async () => {
      left -= 1;
      if (left < 0) throw new Error('the lock is lost');
    };
    const losing: DriverContext = { ...never, lock: { token: 7, confirm } };
    await expect(bench().driver.rename(volume, 'sales', losing)).rejects.toThrow('lost');
    expect(left).toBe(-1);
    await expectNamed('db', 'sales');
  });

  test('an aborted rename changes nothing', async () => {
    const volume = await filled('db');
    const signal = AbortSignal.abort(new Error('gave up'));
    await expect(bench().driver.rename(volume, 'sales', { signal })).rejects.toThrow('gave up');
    await expectNamed('db', 'sales');
  });

  if (ownsFileSystem) {
    test('a volume whose file system is mounted is not renamed', async () => {
      const volume = await filled('db');
      await bench().inside(volume, async () => {
        await expect(bench().driver.rename(volume, 'sales', never)).rejects.toThrow(InUseError);
      });
      await expectNamed('db', 'sales');
    });
  }
}
