import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { currentMountsAt } from '../../../lib/linux/mountinfo.ts';
import { drivers } from '../../../lib/volumes/drivers/registry.ts';
import { InUseError, InvalidRequestError, NotFoundError } from '../../../lib/volumes/errors.ts';
import type { DriverBench } from '../bench/driver-bench.ts';
import { command, never } from '../bench/driver-bench.ts';

/** Checks create, remove, mount, unmount and usage. */
export function mountContract(bench: () => DriverBench): void {
  test('options are parsed to a stable form, and unknown ones are refused', () => {
    const { driver, fixture } = bench();
    const parsed = driver.parseOptions(fixture.options);
    expect(driver.parseOptions(parsed)).toEqual(parsed);
    expect(() => driver.parseOptions({ nonsense: '1' })).toThrow(InvalidRequestError);
    expect(() => driver.parseOptions({ nonsense: '1' })).toThrow(/"nonsense"/);
  });

  test('the storage tells each option that copies share, as it was asked for', async () => {
    const { driver } = bench();
    const volume = await bench().created('db');
    // A volume whose whole size is allocated may have been filled by its users.
    const isTold = (option: string) =>
      option !== 'reserve' && driver.options[option]?.inCopies === 'same';
    const told = Object.keys(driver.options).filter(isTold);
    expect(Object.keys(volume.options)).toEqual(expect.arrayContaining(told));
    const found = (await driver.storage.find('db'))?.options ?? {};
    expect(volume.options).toMatchObject(found);
    expect(Object.keys(found)).toEqual(expect.arrayContaining(told));
    const isOfStart = (option: string) => driver.options[option]?.inCopies === 'given';
    expect(Object.keys(found).filter(isOfStart)).toEqual([]);
  });

  test('a mount is owned by the driver that made it, and by no other', async () => {
    const { driver, volumeDir } = bench();
    const { volume, mountpoint } = await bench().mounted('db');
    try {
      const [mount] = await currentMountsAt(mountpoint);
      const owners = [...(await drivers({ volumeDir })).values()].filter(
        (each) => mount && each.owns(mount),
      );
      expect(owners.map(({ name }) => name)).toEqual([driver.name]);
    } finally {
      await driver.unmount(volume, mountpoint, never);
    }
  });

  test('a new volume is empty, belongs to root, and is readable by everybody', async () => {
    const { mountpoint, volume } = await bench().mounted('db');
    try {
      await expect(readdir(mountpoint)).resolves.toEqual([]);
      const { mode, uid, gid } = await stat(mountpoint);
      expect({ mode: (mode & 0o7777).toString(8), uid, gid }).toEqual({
        mode: '755',
        uid: 0,
        gid: 0,
      });
    } finally {
      await bench().driver.unmount(volume, mountpoint, never);
    }
  });

  test('a repeated create keeps the content', async () => {
    const volume = await bench().created('db');
    await bench().inside(volume, (path) => writeFile(join(path, 'kept'), 'yes'));
    await bench().driver.create(volume, never);
    await expect(bench().read(volume, 'kept')).resolves.toBe('yes');
  });

  test('an aborted create leaves nothing', async () => {
    const aborted = { signal: AbortSignal.abort(new Error('gave up')) };
    await expect(bench().driver.create(bench().volume('db'), aborted)).rejects.toThrow('gave up');
    await expect(bench().leftovers()).resolves.toEqual([]);
    await expect(bench().driver.usage(bench().volume('db'), undefined)).rejects.toThrow(
      NotFoundError,
    );
  });

  test('a remove deletes the volume with its snapshots, and may be repeated', async () => {
    const { driver } = bench();
    const volume = await bench().created('db');
    if (driver.capabilities.copies) await driver.snapshot({ volume, snapshot: 'monday' }, never);
    await driver.remove(volume, never);
    await driver.remove(volume, never);
    await expect(readdir(bench().storageDir)).resolves.toEqual([]);
  });

  test('a repeated mount adds no second mount, also from a new daemon', async () => {
    const { volume, mountpoint } = await bench().mounted('db');
    try {
      await writeFile(join(mountpoint, 'file'), 'content');
      await bench().driver.mount(volume, mountpoint, never);
      await bench().restarted().mount(volume, mountpoint, never);
      await expect(bench().mounts()).resolves.toEqual([mountpoint]);
      await expect(readFile(join(mountpoint, 'file'), 'utf8')).resolves.toBe('content');
    } finally {
      await bench().driver.unmount(volume, mountpoint, never);
    }
    await expect(bench().mounts()).resolves.toEqual([]);
  });

  test('an unmount keeps the content, and may be repeated', async () => {
    const { volume, mountpoint } = await bench().mounted('db');
    await writeFile(join(mountpoint, 'file'), 'content');
    await bench().driver.unmount(volume, mountpoint, never);
    await bench().driver.unmount(volume, mountpoint, never);
    await expect(stat(mountpoint)).rejects.toThrow('ENOENT');
    await expect(bench().loopDevices()).resolves.toEqual([]);
    await expect(bench().read(volume, 'file')).resolves.toBe('content');
  });

  test('a mountpoint on which something else is mounted is refused', async () => {
    const other = await bench().mounted('other');
    try {
      const volume = await bench().created('db');
      await expect(bench().driver.mount(volume, other.mountpoint, never)).rejects.toThrow(
        InUseError,
      );
      await expect(bench().mounts()).resolves.toEqual([other.mountpoint]);
    } finally {
      await bench().driver.unmount(other.volume, other.mountpoint, never);
    }
  });

  test('a mount of a volume without storage is refused, and leaves no directory', async () => {
    const mountpoint = bench().mountpoint('db');
    await expect(bench().driver.mount(bench().volume('db'), mountpoint, never)).rejects.toThrow(
      NotFoundError,
    );
    await expect(stat(mountpoint)).rejects.toThrow('ENOENT');
  });

  test('an aborted mount leaves nothing mounted', async () => {
    const volume = await bench().created('db');
    const mountpoint = bench().mountpoint('db');
    for (const afterMs of [0, 2, 5, 10, 15]) {
      const { signal } = timer(afterMs);
      const mounting = bench().driver.mount(volume, mountpoint, { signal });
      const mounted = await mounting.then(
        () => true,
        () => false,
      );
      expect(await bench().mounts()).toEqual(mounted ? [mountpoint] : []);
      if (mounted) await bench().driver.unmount(volume, mountpoint, never);
      else await expect(stat(mountpoint)).rejects.toThrow('ENOENT');
    }
    await bench().driver.unmount(volume, mountpoint, never);
  });

  test('a busy volume stays mounted, and the error names its user', async () => {
    const { volume, mountpoint } = await bench().mounted('db');
    const user = spawn('sleep', ['60'], { cwd: mountpoint });
    try {
      await once(user, 'spawn');
      const unmounting = bench().driver.unmount(volume, mountpoint, never);
      await expect(unmounting).rejects.toThrow(InUseError);
      await expect(unmounting).rejects.toThrow(`sleep (pid ${user.pid})`);
      await writeFile(join(mountpoint, 'file'), 'still there');
    } finally {
      user.kill('SIGKILL');
      await once(user, 'exit');
      await bench().driver.unmount(volume, mountpoint, never);
    }
    await expect(bench().read(volume, 'file')).resolves.toBe('still there');
  });

  test('an unmount waits a moment for the last user to leave', async () => {
    const { volume, mountpoint } = await bench().mounted('db');
    const user = spawn('sleep', ['0.5'], { cwd: mountpoint });
    await once(user, 'spawn');
    await bench().driver.unmount(volume, mountpoint, never);
    await expect(bench().mounts()).resolves.toEqual([]);
  });

  test('an unmount removes mounts that somebody stacked', async () => {
    const { volume, mountpoint } = await bench().mounted('db');
    await command('mount', ['--bind', mountpoint, mountpoint]);
    await bench().driver.unmount(volume, mountpoint, never);
    await expect(bench().mounts()).resolves.toEqual([]);
  });

  test('an unused volume can be abandoned, repeatedly', async () => {
    const { volume, mountpoint } = await bench().mounted('db');
    await writeFile(join(mountpoint, 'file'), 'content', { flush: true });
    await bench().driver.abandon(volume, mountpoint, never);
    await bench().restarted().abandon(volume, mountpoint, never);
    await expect(stat(mountpoint)).rejects.toThrow('ENOENT');
    await expect(bench().mounts()).resolves.toEqual([]);
    await expect(bench().loopDevices()).resolves.toEqual([]);
    await expect(bench().read(volume, 'file')).resolves.toBe('content');
  });

  test('the usage grows with the content, mounted or not', async () => {
    const { driver } = bench();
    const { volume, mountpoint } = await bench().mounted('db');
    const before = await driver.usage(volume, mountpoint);
    const written = 8 * 2 ** 20;
    await writeFile(join(mountpoint, 'file'), Buffer.alloc(written, 1), { flush: true });
    const during = await driver.usage(volume, mountpoint);
    await driver.unmount(volume, mountpoint, never);
    const after = await driver.usage(volume, undefined);

    expect(during.usedBytes - before.usedBytes).toBeGreaterThanOrEqual(written);
    expect(during.usedBytes - before.usedBytes).toBeLessThan(written * 1.2);
    expect(after.usedBytes).toBeGreaterThanOrEqual(written);
    expect('sizeBytes' in after).toBe(driver.capabilities.size);
  });
}

function timer(ms: number): AbortController {
  const controller = new AbortController();
  setTimeout(() => controller.abort(new Error('gave up')), ms);
  return controller;
}
