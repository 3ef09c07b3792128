// Deletion on a file system without one free byte: real file systems of some MB, loop devices and
// mounts; real time. Needs root.

import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { hasCode } from '../../../lib/linux/error-code.ts';
import { directoryDriver } from '../../../lib/volumes/drivers/directory/driver.ts';
import type { DriverContext } from '../../../lib/volumes/drivers/driver.ts';
import { drivers } from '../../../lib/volumes/drivers/registry.ts';
import { makeFileSystem } from '../../support/loop-fs.ts';
import { runOk, runProcess } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';

const context: DriverContext = { signal: new AbortController().signal };
const options = { directory: {}, image: { size: '16M' } };

/** Makes a small file system and returns its path. */
async function makePool(kind: string, stack: AsyncDisposableStack): Promise<string> {
  if (kind === 'ext4' || kind === 'xfs' || kind === 'btrfs') {
    const sizeMB = { ext4: 64, xfs: 300, btrfs: 110 }[kind];
    return stack.use(await makeFileSystem(kind, sizeMB)).path;
  }
  const { path } = stack.use(await makeTemporaryDirectory());
  await runOk('mount', ['-t', 'tmpfs', '-o', 'size=40m', 'tmpfs', path]);
  stack.defer(async () => {
    await runOk('umount', [path]);
  });
  return path;
}

/** Takes every block: first in large pieces, then in single ones, then in files. */
async function fill(ballast: string): Promise<void> {
  for (const block of ['1M', '4k', '512'])
    await runProcess('dd', ['if=/dev/zero', `of=${join(ballast, block)}`, `bs=${block}`]);
  await runProcess('sync', ['--file-system', ballast]);
  for (let index = 0; index < 10_000; index++) {
    try {
      await writeFile(join(ballast, `small-${index}`), 'x'.repeat(32));
    } catch (error) {
      if (hasCode(error, 'ENOSPC')) return;
      throw error;
    }
  }
  throw new Error(`${ballast} is not full after 10,000 small files`);
}

describeWith(['root', 'loop'], 'content that can not be deleted', () => {
  test.each(['directory', 'image'] as const)(
    'a volume of driver %s is removed, the operator receives what is left, and the doctor can try again',
    async (name) => {
      await using fs = await makeFileSystem('ext4', 64);
      const reports: string[] = [];
      const report = (volume: string, message: string) => reports.push(`${volume}: ${message}`);
      const driver = (await drivers({ volumeDir: join(fs.path, 'volumes'), report })).get(name);
      if (!driver) throw new Error('no such driver');
      const volume = { name: 'db', options: driver.parseOptions(options[name]) };
      await driver.create(volume, context);
      const home = join(fs.path, 'volumes', name, 'db');
      await writeFile(join(home, 'snapshots/immutable'), 'x');
      await runOk('chattr', ['+i', join(home, 'snapshots/immutable')]);
      await driver.remove(volume, context);
      expect(await driver.storage.names()).toEqual([]);
      expect(reports).toEqual([
        expect.stringMatching(/^db: .*could not be deleted.*not permitted/),
      ]);
      const [left] = await driver.storage.leftovers();
      expect(reports[0]).toContain(left?.what);

      expect(await driver.storage.sweep()).toEqual([
        { ...left, why: expect.stringContaining('not permitted') },
      ]);
      expect(await driver.storage.leftovers()).toHaveLength(1);
      await runOk('chattr', ['-R', '-i', left?.what ?? '']);
      await driver.storage.sweep();
      expect(await driver.storage.leftovers()).toEqual([]);
    },
  );
});

describeWith(['root', 'loop'], 'a volume larger than any file of its pool', () => {
  test('C6: is refused, and leaves nothing', async () => {
    await using fs = await makeFileSystem('ext4', 64);
    const volumeDir = join(fs.path, 'volumes');
    const driver = (await drivers({ volumeDir })).get('image');
    if (!driver) throw new Error('no such driver');
    const volume = { name: 'db', options: driver.parseOptions({ size: '16T' }) };
    await expect(driver.create(volume, context)).rejects.toMatchObject({
      code: 'invalid',
      message: expect.stringContaining('size=16T is more than a file can have'),
    });
    expect(await driver.storage.names()).toEqual([]);
    expect(await driver.storage.leftovers()).toEqual([]);
  });
});

describeWith(['root', 'loop'], 'former content that can not be deleted', () => {
  test('C6: a restore reports what it could not delete, and the doctor sees it at once', async () => {
    await using fs = await makeFileSystem('ext4', 64);
    const reports: string[] = [];
    const report = (volume: string, message: string) => reports.push(`${volume}: ${message}`);
    const driver = directoryDriver({ volumeDir: join(fs.path, 'volumes'), report });
    const volume = { name: 'db', options: {} };
    await driver.create(volume, context);
    await driver.snapshot({ volume, snapshot: 'monday' }, context);
    const data = join(fs.path, 'volumes/directory/db/data');
    await writeFile(join(data, 'immutable'), 'x');
    await runOk('chattr', ['+i', join(data, 'immutable')]);
    await driver.restore({ volume, snapshot: 'monday' }, context);
    expect(await readdir(data)).toEqual([]);
    const [left] = await driver.storage.leftovers();
    expect(reports).toEqual([expect.stringMatching(/^db: .*could not be deleted.*not permitted/)]);
    expect(reports[0]).toContain(left?.what);
    await runOk('chattr', ['-R', '-i', left?.what ?? '']);
    expect(await driver.storage.sweep()).toEqual([]);
    expect(await driver.storage.leftovers()).toEqual([]);
  });
});

describeWith(['root', 'loop'], 'a pool without one free byte', () => {
  test.each(
    (['directory', 'image'] as const).flatMap((driver) =>
      ['ext4', 'xfs', 'btrfs', 'tmpfs'].map((pool) => [driver, pool] as const),
    ),
  )('volumes and snapshots of driver %s on %s can be unmounted and removed', async (name, kind) => {
    await using stack = new AsyncDisposableStack();
    const pool = await makePool(kind, stack);
    const driver = (await drivers({ volumeDir: join(pool, 'volumes') })).get(name);
    if (!driver) throw new Error('no such driver');
    const volume = { name: 'db', options: driver.parseOptions(options[name]) };
    const other = { ...volume, name: 'other' };
    const mountpoint = join(stack.use(await makeTemporaryDirectory()).path, 'mounted');
    for (const each of [volume, other]) await driver.create(each, context);
    await driver.snapshot({ volume, snapshot: 'monday' }, context);
    await driver.mount(volume, mountpoint, context);
    await mkdir(join(mountpoint, 'folder'));
    await writeFile(join(mountpoint, 'folder/file'), 'x');
    const ballast = join(pool, 'ballast');
    await mkdir(ballast);
    await fill(ballast);

    await driver.unmount(volume, mountpoint, context);
    await driver.removeSnapshot({ volume, snapshot: 'monday' }, context);
    expect(await driver.storage.find('db')).toMatchObject({ snapshots: [] });
    await fill(ballast);
    await driver.remove(volume, context);
    await driver.remove(other, context);
    expect(await driver.storage.names()).toEqual([]);
    expect(await readdir(join(pool, 'volumes', name))).toEqual([]);
  });
});
