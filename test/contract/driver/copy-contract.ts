import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import type { DriverVolume } from '../../../lib/volumes/drivers/driver.ts';
import { InvalidRequestError, NotFoundError } from '../../../lib/volumes/errors.ts';
import { waitFor } from '../../support/processes.ts';
import type { DriverBench } from '../bench/driver-bench.ts';
import { command, never } from '../bench/driver-bench.ts';

/** Checks snapshots, restores and clones that complete. */
export function copyContract(bench: () => DriverBench): void {
  test('no copy is removed or replaced, and none replaces anything, when the store says that the lock is lost', async () => {
    const { driver } = bench();
    const [volume, other] = [await bench().created('db'), await bench().created('other')];
    const write = (to: DriverVolume, text: string) =>
      bench().inside(to, (path) => writeFile(join(path, 'state'), text, { flush: true }));
    const target = { volume, snapshot: 'monday' };
    await write(volume, 'monday');
    await write(other, 'of another');
    await driver.snapshot(target, never);
    await write(volume, 'tuesday');
    const confirm = () => Promise.reject(new Error('the lock is lost'));
    const lost = { ...never, lock: { token: 1, confirm } };
    const attempts = [
      () => driver.snapshot(target, lost),
      () => driver.removeSnapshot(target, lost),
      () => driver.restore(target, lost),
      () => driver.clone(target, other, lost),
    ];
    for (const attempt of attempts) await expect(attempt()).rejects.toThrow('the lock is lost');
    await expect(bench().read(volume, 'state')).resolves.toBe('tuesday');
    await expect(bench().read(other, 'state')).resolves.toBe('of another');
    await driver.restore(target, never);
    await expect(bench().read(volume, 'state')).resolves.toBe('monday');
    await expect(bench().leftovers()).resolves.toEqual([]);
  });

  test('a snapshot keeps the content, and can be restored repeatedly', async () => {
    const { driver } = bench();
    const { volume, mountpoint } = await bench().mounted('db');
    const target = { volume, snapshot: 'monday', mountpoint };
    await writeFile(join(mountpoint, 'state'), 'before', { flush: true });
    const bytes = await driver.snapshot(target, never);
    expect(bytes).toBeGreaterThan(0);
    await writeFile(join(mountpoint, 'state'), Buffer.alloc(2 ** 20, 'after'), { flush: true });
    const larger = await driver.snapshot({ ...target, snapshot: 'tuesday' }, never);
    expect(larger).toBeGreaterThan(bytes + 2 ** 19);
    await driver.removeSnapshot({ ...target, snapshot: 'tuesday' }, never);
    await writeFile(join(mountpoint, 'new'), '');
    await driver.unmount(volume, mountpoint, never);

    for (const _ of ['once', 'twice']) {
      await driver.restore({ volume, snapshot: 'monday' }, never);
      await expect(bench().read(volume, 'state')).resolves.toBe('before');
      await expect(bench().inside(volume, (path) => readdir(path))).resolves.toEqual(['state']);
      await bench().inside(volume, (path) => writeFile(join(path, 'state'), 'after'));
    }
    await expect(bench().leftovers()).resolves.toEqual([]);
  });

  test('a snapshot replaces an earlier one of the same name', async () => {
    const { driver } = bench();
    const volume = await bench().created('db');
    for (const state of ['first', 'second']) {
      await bench().inside(volume, (path) => writeFile(join(path, 'state'), state));
      await driver.snapshot({ volume, snapshot: 'monday' }, never);
    }
    await driver.clone({ volume, snapshot: 'monday' }, bench().volume('copy'), never);
    await expect(bench().read(bench().volume('copy'), 'state')).resolves.toBe('second');
  });

  test('removing a snapshot leaves the others, and may be repeated', async () => {
    const { driver } = bench();
    const volume = await bench().created('db');
    await driver.snapshot({ volume, snapshot: 'monday' }, never);
    await driver.snapshot({ volume, snapshot: 'tuesday' }, never);
    await driver.removeSnapshot({ volume, snapshot: 'monday' }, never);
    await driver.removeSnapshot({ volume, snapshot: 'monday' }, never);
    await expect(driver.restore({ volume, snapshot: 'monday' }, never)).rejects.toThrow(
      NotFoundError,
    );
    await driver.restore({ volume, snapshot: 'tuesday' }, never);
  });

  test('a copy of a volume or snapshot that does not exist is refused', async () => {
    const { driver } = bench();
    const volume = bench().volume('db');
    const copy = bench().volume('copy');
    await expect(driver.snapshot({ volume, snapshot: 'x' }, never)).rejects.toThrow(NotFoundError);
    await expect(driver.clone({ volume }, copy, never)).rejects.toThrow(NotFoundError);
    await driver.create(volume, never);
    await expect(driver.clone({ volume, snapshot: 'x' }, copy, never)).rejects.toThrow('db@x');
    await expect(readdir(bench().storageDir)).resolves.toEqual(['db']);
  });

  test('a clone and its source change independently while both are mounted', async () => {
    const { driver } = bench();
    const { volume, mountpoint } = await bench().mounted('db');
    const copy = bench().volume('copy');
    const copyMountpoint = bench().mountpoint('copy');
    try {
      await writeFile(join(mountpoint, 'state'), 'common');
      await driver.clone({ volume, mountpoint }, copy, never);
      await driver.mount(copy, copyMountpoint, never);
      await expect(readFile(join(copyMountpoint, 'state'), 'utf8')).resolves.toBe('common');
      await writeFile(join(copyMountpoint, 'state'), 'copy');
      await expect(readFile(join(mountpoint, 'state'), 'utf8')).resolves.toBe('common');
      await driver.unmount(copy, copyMountpoint, never);
    } finally {
      await driver.unmount(volume, mountpoint, never);
    }
    await driver.remove(volume, never);
    await expect(bench().read(copy, 'state')).resolves.toBe('copy');
  });

  test('a clone replaces existing storage, and has no snapshots', async () => {
    const { driver } = bench();
    const volume = await bench().created('db');
    await bench().inside(volume, (path) => writeFile(join(path, 'state'), 'source'));
    const copy = await bench().created('copy');
    await bench().inside(copy, (path) => writeFile(join(path, 'old'), ''));
    await driver.snapshot({ volume: copy, snapshot: 'monday' }, never);
    await driver.clone({ volume }, copy, never);
    await driver.clone({ volume }, copy, never);
    await expect(bench().inside(copy, (path) => readdir(path))).resolves.toEqual(['state']);
    await expect(driver.restore({ volume: copy, snapshot: 'monday' }, never)).rejects.toThrow(
      NotFoundError,
    );
  });

  test('a snapshot of a volume under write is usable, and the writer goes on', async () => {
    const { driver } = bench();
    const { volume, mountpoint } = await bench().mounted('db');
    // The writer creates and deletes files; each contains its own number.
    const script = 'i=0; while :; do i=$((i+1)); echo $i > f$i; rm -f f$((i-50)); done';
    const writer = spawn('sh', ['-c', script], { cwd: mountpoint });
    try {
      for (const snapshot of ['a', 'b', 'c']) {
        await driver.snapshot({ volume, snapshot, mountpoint }, never);
        const seen = await newest(mountpoint);
        await waitFor(
          async () => (await newest(mountpoint)) > seen,
          5000,
          'the writer to write more',
        );
      }
    } finally {
      writer.kill('SIGKILL');
      await once(writer, 'exit');
      await driver.unmount(volume, mountpoint, never);
    }
    const copy = bench().volume('copy');
    for (const snapshot of ['a', 'b', 'c']) {
      await driver.clone({ volume, snapshot }, copy, never);
      await bench().inside(copy, async (path) => {
        expect(await newest(path)).toBeGreaterThan(0);
        await writeFile(join(path, 'more'), 'can be written');
      });
    }
  });

  test('recover resolves when there is nothing to recover', async () => {
    const { volume, mountpoint } = await bench().mounted('db');
    await bench().driver.recover(mountpoint, never);
    await bench().driver.unmount(volume, mountpoint, never);
    await bench().driver.recover(mountpoint, never);
  });
}

/** Checks that a driver without copies refuses them with a way out, and changes nothing. */
export function noCopyContract(bench: () => DriverBench): void {
  test('snapshots, restores and copies are refused with what to do instead', async () => {
    const { driver } = bench();
    const { volume, mountpoint } = await bench().mounted('db');
    await writeFile(join(mountpoint, 'state'), 'as it was');
    const target = { volume, snapshot: 'monday', mountpoint };
    const copy = bench().volume('copy');
    for (const refused of [
      () => driver.snapshot(target, never),
      () => driver.restore(target, never),
      () => driver.clone({ volume, mountpoint }, copy, never),
      () => driver.clone(target, copy, never),
    ]) {
      const running = refused();
      await expect(running).rejects.toThrow(InvalidRequestError);
      await expect(running).rejects.toThrow(/no snapshots and no copies; /);
    }
    await driver.removeSnapshot(target, never);
    await driver.unmount(volume, mountpoint, never);
    await expect(bench().read(volume, 'state')).resolves.toBe('as it was');
    await expect(driver.storage.names()).resolves.toEqual(['db']);
  });
}

/** Checks copies on file systems whose files can share blocks. */
export function sharedBlocksContract(bench: () => DriverBench): void {
  test('copies occupy almost no space', async () => {
    const { driver, volumeDir } = bench();
    const { volume, mountpoint } = await bench().mounted('db');
    const written = 200 * 2 ** 20;
    await writeFile(join(mountpoint, 'big'), Buffer.alloc(written, 1), { flush: true });
    await driver.snapshot({ volume, snapshot: 'monday', mountpoint }, never);
    await driver.unmount(volume, mountpoint, never);
    const before = await occupied(volumeDir);
    await driver.clone({ volume, snapshot: 'monday' }, bench().volume('copy'), never);
    await driver.restore({ volume, snapshot: 'monday' }, never);
    await driver.snapshot({ volume, snapshot: 'tuesday' }, never);
    // Three copies. An xfs in an image writes its log of 64 MiB again when it gets a new UUID.
    expect((await occupied(volumeDir)) - before).toBeLessThan(written / 2);
    await expect(bench().inside(bench().volume('copy'), (path) => readdir(path))).resolves.toEqual([
      'big',
    ]);
  });
}

async function newest(path: string): Promise<number> {
  return Math.max(0, ...(await readdir(path)).map((name) => Number(name.slice(1)) || 0));
}

async function occupied(path: string): Promise<number> {
  await command('sync', ['--file-system', path]);
  const { blocks, bfree, bsize } = await statfs(path);
  return (blocks - bfree) * bsize;
}
