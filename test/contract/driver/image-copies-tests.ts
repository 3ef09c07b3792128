import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, test } from '@jest/globals';
import { imageDriver } from '../../../lib/volumes/drivers/image/driver.ts';
import type { FileSystem } from '../../../lib/volumes/drivers/image/image-file.ts';
import { InUseError } from '../../../lib/volumes/errors.ts';
import type { RunningProcess } from '../../support/processes.ts';
import { startProcess, waitFor } from '../../support/processes.ts';
import type { DriverBench } from '../bench/driver-bench.ts';
import { command, never } from '../bench/driver-bench.ts';

/**
 * Checks what happens while another mount namespace of this host still shows the image: the private
 * copy that a monitor with `-v /:/host` has, or the bind mount of a container that uses the volume.
 */
export function copiesTests(bench: () => DriverBench, fs: FileSystem): void {
  const image = () => join(bench().storageDir, 'db', 'volume.img');

  /** Starts a process in a mount namespace of its own, with private copies of all mounts. */
  async function monitor(script = 'exec sleep 300'): Promise<RunningProcess> {
    const ready = `echo ready; ${script}`;
    const process = startProcess('unshare', [
      ...['--mount', '--propagation', 'private', 'sh', '-c', ready],
    ]);
    await waitFor(() => process.output().includes('ready'), 5_000, 'the monitor');
    return process;
  }

  const mountsOf = ({ pid }: RunningProcess) => readFile(`/proc/${pid}/mountinfo`, 'utf8');

  const shown = (of: RunningProcess, path: string) => join(`/proc/${of.pid}/root`, path);

  /** The driver with the messages that it has for an operator. */
  function reporting() {
    const reports: string[] = [];
    const report = (volume: string, message: string) => reports.push(`${volume}: ${message}`);
    const { volumeDir } = bench();
    return { reports, driver: imageDriver({ volumeDir, hostDir: dirname(volumeDir), report }) };
  }

  test('an unmount takes the copies of the mount away, and frees the image', async () => {
    const { volume, mountpoint } = await bench().mounted('db');
    const { driver, reports } = reporting();
    await writeFile(join(mountpoint, 'file'), 'flushed');
    await using copy = await monitor();
    expect(await mountsOf(copy)).toContain(` ${mountpoint} `);
    await driver.unmount(volume, mountpoint, never);
    await expect(bench().loopDevices()).resolves.toEqual([]);
    expect(await mountsOf(copy)).not.toContain(` ${mountpoint} `);
    expect(reports).toEqual([]);
    await checkClean(fs, image());
    await expect(bench().read(volume, 'file')).resolves.toBe('flushed');
  });

  test('a file system that an open file in a copy keeps is flushed and shut down by the unmount, and writes nothing more', async () => {
    const { volume, mountpoint } = await bench().mounted('db');
    const { driver, reports } = reporting();
    await writeFile(join(mountpoint, 'deleted'), Buffer.alloc(64 * 2 ** 20, 1), { flush: true });
    await using copy = await monitor(`exec 3>>${mountpoint}/held; exec sleep 300`);
    await writeFile(join(mountpoint, 'file'), 'not flushed yet');
    await command('rm', [join(mountpoint, 'deleted')]);
    await driver.unmount(volume, mountpoint, never);
    const name = `sleep \\(pid ${copy.pid}\\)`;
    expect(reports).toEqual([expect.stringMatching(new RegExp(`^db: .*${name}.*rslave`))]);
    const before = await hashOf(image());
    // From now on another host may mount the image: nothing of the copy may reach it.
    const held = `/proc/${copy.pid}/fd/3`;
    await expect(writeFile(held, 'late', { flush: true })).rejects.toThrow(/EIO/);
    expect(await hashOf(image())).toBe(before);
    // Meanwhile this host goes on with the volume, on another device, also in another storage worker.
    const { driver: next } = reporting();
    await next.mount(volume, mountpoint, never);
    expect(await readFile(join(mountpoint, 'file'), 'utf8')).toBe('not flushed yet');
    await writeFile(join(mountpoint, 'file'), 'later');
    await next.snapshot({ volume, snapshot: 'monday', mountpoint }, never);
    await next.unmount(volume, mountpoint, never);
    await next.restore({ volume, snapshot: 'monday' }, never);
    const after = await hashOf(image());
    await copy.stop();
    await waitFor(async () => (await bench().loopDevices()).length === 0, 5_000, 'no device');
    expect(await hashOf(image())).toBe(after);
    await driver.remove(volume, never);
  });

  test('a user of the volume in another mount namespace keeps it mounted: the unmount is refused and names it', async () => {
    const { volume, mountpoint } = await bench().mounted('db');
    const { driver } = bench();
    // As an engine mounts a volume into a container: at another place.
    await using user = await monitor(
      `mount --bind ${mountpoint} /mnt; umount ${mountpoint}; exec sleep 300`,
    );
    const unmounting = driver.unmount(volume, mountpoint, never);
    await expect(unmounting).rejects.toThrow(new RegExp(`sleep \\(pid ${user.pid}\\)`));
    // The user goes on, and whoever mounts the volume here shares the user's file system.
    await writeFile(join(shown(user, '/mnt'), 'file'), 'goes on');
    expect(await readFile(join(mountpoint, 'file'), 'utf8')).toBe('goes on');
    await user.stop();
    await driver.unmount(volume, mountpoint, never);
    await expect(bench().loopDevices()).resolves.toEqual([]);
  });

  test('a mount under a standing lock uses the file system that a container still has; any other is refused', async () => {
    const { volume, mountpoint } = await bench().mounted('db');
    const { driver } = bench();
    await using user = await monitor(
      `mount --bind ${mountpoint} /mnt; umount ${mountpoint}; exec sleep 300`,
    );
    await command('umount', [mountpoint]);
    await writeFile(join(shown(user, '/mnt'), 'file'), 'cached');
    await expect(driver.mount(volume, mountpoint, never)).rejects.toThrow(`(pid ${user.pid})`);
    await expect(bench().mounts()).resolves.toEqual([]);
    await driver.mount(volume, mountpoint, { ...never, isContinued: true });
    expect(await readFile(join(mountpoint, 'file'), 'utf8')).toBe('cached');
    await writeFile(join(mountpoint, 'file'), 'of both');
    expect(await readFile(join(shown(user, '/mnt'), 'file'), 'utf8')).toBe('of both');
    expect(await bench().loopDevices()).toHaveLength(1);
    await user.stop();
    await driver.unmount(volume, mountpoint, never);
  });

  test('an abandoned image is not written through a copy, also when its mountpoint was unmounted before', async () => {
    const { driver } = bench();
    const { volume, mountpoint } = await bench().mounted('db');
    await using copy = await monitor(`exec 3>>${mountpoint}/held; exec sleep 300`);
    await command('umount', [mountpoint]);
    await expect(driver.abandon(volume, mountpoint, never)).rejects.toThrow(InUseError);
    const before = await hashOf(image());
    const held = `/proc/${copy.pid}/fd/3`;
    await expect(writeFile(held, 'late', { flush: true })).rejects.toThrow(/EIO/);
    expect(await hashOf(image())).toBe(before);
    await copy.stop();
    await driver.abandon(volume, mountpoint, never);
    await expect(bench().loopDevices()).resolves.toEqual([]);
  });
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  const stream = createReadStream(path);
  stream.on('data', (part) => hash.update(part));
  await once(stream, 'end');
  return hash.digest('hex');
}

/** Throws when a file system would have to be repaired, or its journal replayed. */
async function checkClean(fs: FileSystem, image: string): Promise<void> {
  if (fs === 'ext4') await command('e2fsck', ['-f', '-n', image]);
  else await command('xfs_repair', ['-n', image]);
}
