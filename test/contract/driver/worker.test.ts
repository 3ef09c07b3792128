// The drivers as the daemon uses them: in a storage worker, which storage may hang and a person may kill.
import { mkdir, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { Clock } from '../../../lib/running/clock.ts';
import { systemClock } from '../../../lib/running/clock.ts';
import type { DriverVolume, VolumeDriver } from '../../../lib/volumes/drivers/driver.ts';
import { InUseError, InvalidRequestError, NotFoundError } from '../../../lib/volumes/errors.ts';
import type { VolumeEvent } from '../../../lib/volumes/events.ts';
import { Lanes } from '../../../lib/volumes/worker/lanes.ts';
import { remoteDrivers } from '../../../lib/volumes/worker/remote-drivers.ts';
import { WorkerProcess } from '../../../lib/volumes/worker/worker-process.ts';
import { makeHungFileSystem } from '../../support/hung-file-system.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';
import { command, never } from '../bench/driver-bench.ts';
import { stopCopy } from '../bench/stopped-copy.ts';

/** The limits of calls pass this many times faster. */
const haste = 10;

interface Bench extends AsyncDisposable {
  readonly volumeDir: string;
  readonly lanes: Lanes<WorkerProcess>;
  readonly workers: readonly WorkerProcess[];
  readonly events: readonly VolumeEvent[];
  driver(name: string): VolumeDriver;
  mountpoint(name: string): string;
}

async function makeBench(): Promise<Bench> {
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(await makeTemporaryDirectory());
  const place = { volumeDir: join(directory.path, 'volumes') };
  const real = systemClock();
  const clock: Clock = { ...real, sleep: (ms, signal) => real.sleep(ms / haste, signal) };
  const workers: WorkerProcess[] = [];
  const events: VolumeEvent[] = [];
  const start = () => {
    const worker = new WorkerProcess({ place, clock: real });
    workers.push(worker);
    return worker;
  };
  const record = (event: VolumeEvent) => void events.push(event);
  const lanes = stack.use(new Lanes({ start, clock, events: { record } }));
  const drivers = remoteDrivers(place, lanes);
  const owned = stack.move();
  return {
    volumeDir: place.volumeDir,
    lanes,
    workers,
    events,
    driver: (name) => {
      const driver = drivers.get(name);
      if (!driver) throw new Error(`there is no driver ${name}`);
      return driver;
    },
    mountpoint: (name) => join(directory.path, 'mounts', name),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

const options: Readonly<Record<string, Record<string, string>>> = {
  directory: {},
  image: { size: '20M' },
};

function volumeOf(driver: VolumeDriver, name: string): DriverVolume {
  return { name, options: driver.parseOptions(options[driver.name] ?? {}) };
}

describeWith(['root', 'loop', 'fuse'], 'drivers in a storage worker', () => {
  let bench: Bench;

  beforeEach(async () => {
    bench = await makeBench();
  });
  afterEach(async () => {
    await bench[Symbol.asyncDispose]();
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

  test.each(['directory', 'image'])(
    '%s on storage that does not answer: each method is limited, the other driver goes on',
    async (name) => {
      const driver = bench.driver(name);
      const other = bench.driver(name === 'image' ? 'directory' : 'image');
      await using storage = await makeHungFileSystem(join(bench.volumeDir, name));
      const volume = (text: string) => volumeOf(driver, text);
      const monday = (text: string) => ({ volume: volume(text), snapshot: 'monday' });
      const changes = [
        driver.create(volume('a'), never),
        driver.remove(volume('b'), never),
        driver.mount(volume('c'), bench.mountpoint('c'), never),
        driver.snapshot(monday('d'), never),
        driver.removeSnapshot(monday('e'), never),
        driver.restore(monday('f'), never),
        driver.clone(monday('g'), volume('h'), never),
      ];
      const settled = Promise.allSettled(changes);
      const reads = [driver.usage(volume('i'), undefined), driver.storage.find('j')];
      for (const read of reads) await expect(read).rejects.toThrow('does not answer');
      const silent = () => new Set(bench.lanes.all().map(({ volume: of }) => of));
      await waitFor(() => silent().size === 10, 30_000, 'all to be silent');
      for (const text of 'abcdefghij') {
        await expect(driver.create(volume(text), never)).rejects.toThrow('does not answer since');
      }
      expect(bench.workers.length).toBeGreaterThan(1);

      const db = volumeOf(other, 'db');
      const mountpoint = bench.mountpoint('db');
      await other.create(db, never);
      await other.mount(db, mountpoint, never);
      await other.unmount(db, mountpoint, never);
      await other.remove(db, never);

      await storage.answer();
      await settled;
      await waitFor(() => bench.lanes.all().length === 0, 10_000, 'the silences to end');
      await waitFor(
        () => bench.workers.filter(({ hasEnded }) => !hasEnded).length === 1,
        10_000,
        'the workers that were set aside to end',
      );
      const kinds = bench.events.map(({ kind }) => kind);
      expect(kinds.filter((kind) => kind === 'silent')).toHaveLength(10);
      expect(kinds.filter((kind) => kind === 'answered')).toHaveLength(10);
    },
  );

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
