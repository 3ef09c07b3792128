// The drivers as the daemon uses them: in a storage worker, which storage may hang and a person may kill.
import { mkdir, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import {
  InUseError,
  InvalidRequestError,
  NotFoundError,
  UnavailableError,
} from '../../../lib/volumes/errors.ts';
import { makeHungFileSystem } from '../../support/hung-file-system.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { command, never } from '../bench/driver-bench.ts';
import { stopCopy } from '../bench/stopped-copy.ts';
import type { WorkerBench } from '../bench/worker-bench.ts';
import { makeWorkerBench, volumeOf } from '../bench/worker-bench.ts';

describeWith(['root', 'loop', 'fuse'], 'drivers in a storage worker', () => {
  let bench: WorkerBench;

  beforeEach(async () => {
    bench = await makeWorkerBench();
  });
  afterEach(async () => {
    await bench[Symbol.asyncDispose]();
  });

  test('a driver asks its caller, across the processes, whether the lock is still held', async () => {
    const driver = bench.driver('directory');
    const target = { volume: volumeOf(driver, 'v'), snapshot: 'monday' };
    await driver.create(target.volume, never);
    let asked = 0;
    const lost = async () => {
      asked += 1;
      throw new Error('lost the lock on mount/v');
    };
    const attempt = driver.snapshot(target, { ...never, lock: { token: 7, confirm: lost } });
    await expect(attempt).rejects.toThrow(UnavailableError);
    await expect(attempt).rejects.toThrow('lost the lock on mount/v; try again');
    expect(asked).toBe(1);
    expect(await driver.storage.find('v')).toMatchObject({ snapshots: [] });
    await driver.snapshot(target, { ...never, lock: { token: 7, confirm: async () => {} } });
    expect(await driver.storage.find('v')).toMatchObject({ snapshots: ['monday'] });
  });

  test.each(['directory', 'image'])('%s: a life of a volume', async (name) => {
    const driver = bench.driver(name);
    const db = volumeOf(driver, 'db');
    const copy = volumeOf(driver, 'copy');
    const mountpoint = bench.mountpoint('db');
    await driver.create(db, never);
    await driver.mount(db, mountpoint, never);
    await writeFile(join(mountpoint, 'state'), 'before');
    await driver.snapshot({ volume: db, snapshot: 'monday', mountpoint }, never);
    await driver.unmount(db, mountpoint, never);
    await driver.clone({ volume: db, snapshot: 'monday' }, copy, never);
    await driver.mount(copy, mountpoint, never);
    await expect(readFile(join(mountpoint, 'state'), 'utf8')).resolves.toBe('before');
    await driver.unmount(copy, mountpoint, never);
    await expect(driver.storage.names()).resolves.toEqual(['copy', 'db']);
    await expect(driver.storage.find('db')).resolves.toMatchObject({ snapshots: ['monday'] });
    await expect(driver.storage.find('none')).resolves.toBeUndefined();
    const { usedBytes } = await driver.usage(db, undefined);
    expect(usedBytes).toBeGreaterThan(0);
    await driver.remove(db, never);
    await driver.remove(copy, never);
    await expect(driver.storage.names()).resolves.toEqual([]);
    expect(bench.workers).toHaveLength(1);
    expect(bench.lanes.all()).toEqual([]);
  });

  test('errors keep their class and message', async () => {
    const driver = bench.driver('directory');
    const db = volumeOf(driver, 'db');
    const mountpoint = bench.mountpoint('db');
    await expect(driver.mount(db, mountpoint, never)).rejects.toThrow(NotFoundError);
    expect(() => driver.parseOptions({ size: '1G' })).toThrow(InvalidRequestError);
    await driver.create(db, never);
    await mkdir(mountpoint, { recursive: true });
    await command('mount', ['-t', 'tmpfs', 'none', mountpoint]);
    try {
      await expect(driver.mount(db, mountpoint, never)).rejects.toThrow(InUseError);
    } finally {
      await command('umount', [mountpoint]);
    }
  });

  test('an aborted copy ends in the worker, and rejects with the reason', async () => {
    const { driver, db } = await bigVolume();
    const gaveUp = new AbortController();
    const reports: unknown[] = [];
    const copying = driver.clone({ volume: db }, volumeOf(driver, 'copy'), {
      signal: gaveUp.signal,
      onProgress: (progress) => reports.push(progress),
    });
    copying.catch(() => {});
    await stopCopy(bench.workers[0]?.pid ?? 0, join(bench.volumeDir, 'directory'));
    await waitFor(() => reports.length > 0, 10_000, 'progress');
    const reason = new Error('gave up');
    gaveUp.abort(reason);
    await expect(copying).rejects.toBe(reason);
    await expect(readdir(join(bench.volumeDir, 'directory'))).resolves.toEqual(['db']);
  });

  test('when a worker is killed, what it runs ends first, and the next call has another', async () => {
    const { driver, db } = await bigVolume();
    const copying = driver.clone({ volume: db }, volumeOf(driver, 'copy'), never);
    copying.catch(() => {});
    const [worker] = bench.workers;
    const cp = await stopCopy(worker?.pid ?? 0, join(bench.volumeDir, 'directory'));
    process.kill(worker?.pid ?? 0, 'SIGKILL');
    await expect(copying).rejects.toMatchObject({ code: 'unavailable' });
    await expect(readlink(`/proc/${cp}/cwd`)).rejects.toThrow('ENOENT');
    await driver.clone({ volume: db }, volumeOf(driver, 'copy'), never);
    await expect(driver.storage.names()).resolves.toEqual(['copy', 'db']);
  });

  test('a directory volume is unmounted although its storage does not answer', async () => {
    const driver = bench.driver('directory');
    await using storage = await makeHungFileSystem(join(bench.volumeDir, 'directory'));
    const mountpoint = bench.mountpoint('db');
    await mkdir(mountpoint, { recursive: true });
    await command('mount', ['--bind', storage.path, mountpoint]);
    await driver.unmount(volumeOf(driver, 'db'), mountpoint, never);
    const mounts = await readFile('/proc/self/mountinfo', 'utf8');
    expect(mounts).not.toContain(mountpoint);
    expect(bench.lanes.all()).toEqual([]);
  });

  async function bigVolume() {
    const driver = bench.driver('directory');
    const db = volumeOf(driver, 'db');
    await driver.create(db, never);
    const data = join(bench.volumeDir, 'directory', 'db', 'data', 'big');
    await writeFile(data, Buffer.alloc(200 * 2 ** 20, 1));
    return { driver, db };
  }
});
