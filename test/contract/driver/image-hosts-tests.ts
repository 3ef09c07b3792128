import { link, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { imageDriver } from '../../../lib/volumes/drivers/image/driver.ts';
import { ownerTag } from '../../../lib/volumes/drivers/image/stage.ts';
import { InUseError } from '../../../lib/volumes/errors.ts';
import { startProcess, waitFor } from '../../support/processes.ts';
import type { DriverBench } from '../bench/driver-bench.ts';
import { command, never } from '../bench/driver-bench.ts';

/**
 * Checks two daemons of one machine that share a pool: one undoes its old attempt while the other has the
 * volume mounted. A driver without an owner stands for an earlier release, whose devices name nobody.
 */
export function hostsTests(bench: () => DriverBench): void {
  const hostOf = (owner?: string) =>
    imageDriver({ volumeDir: bench().volumeDir, ...(owner !== undefined && { owner }) });
  const holding = (token: number) => ({ ...never, lock: { token, confirm: async () => {} } });
  const [lost, held] = [holding(5), holding(7)];
  const former = {
    ...{ host: 'n1', owner: 'machine.n1', addresses: [], mark: 'mark-5', token: 5 },
    since: '2026-01-02T03:04:05.000Z',
  };
  const places = () => [bench().mountpoint('one'), bench().mountpoint('two')] as const;

  /** Fails if the file system is not the one that this mountpoint had, or does not write any more. */
  async function expectWritable(mountpoint: string): Promise<void> {
    expect(await readFile(join(mountpoint, 'file'), 'utf8')).toBe('of its owner');
    await writeFile(join(mountpoint, 'more'), 'acknowledged', { flush: true });
  }

  /** Starts a monitor, which has a copy of a mount and a file open there, and unmounts the original. */
  async function keptOpen(mountpoint: string) {
    const script = `exec 3>>${mountpoint}/held; echo ready; exec sleep 300`;
    const flags = ['--mount', '--propagation', 'private', 'sh', '-c', script];
    const monitor = startProcess('unshare', flags);
    await waitFor(() => monitor.output().includes('ready'), 5_000, 'the monitor');
    await command('umount', [mountpoint]);
    return monitor;
  }

  test('a device that another daemon has attached and not mounted yet is no leftover of this one', async () => {
    const [n1, n2] = [hostOf('machine.n1'), hostOf('machine.n2')];
    await bench().created('db');
    const image = join(bench().volumeDir, 'image/db/volume.img');
    const stage = join(bench().volumeDir, `image/db/.stage-7.${ownerTag('machine.n2')}`);
    await mkdir(stage);
    await link(image, join(stage, 'volume.img'));
    const staged = join(stage, 'volume.img');
    const device = (await command('losetup', ['--find', '--show', staged])).trim();
    expect(await n1.storage.leftovers()).toEqual([]);
    await n1.storage.sweep();
    expect(await bench().loopDevices()).toHaveLength(1);
    expect(await n2.storage.leftovers()).toEqual([{ what: device }]);
    await n2.storage.sweep();
    expect(await bench().loopDevices()).toEqual([]);
  });

  test.each([
    ['another daemon', 'machine.n2'],
    ['a daemon of an earlier release', undefined],
  ])(
    'an attempt that had not mounted anything is abandoned while %s has the volume mounted, and ends nothing of it',
    async (_, owner) => {
      const [one, two] = places();
      const [n1, n2] = [hostOf('machine.n1'), hostOf(owner)];
      const volume = await bench().created('db');
      await n2.mount(volume, two, held);
      await writeFile(join(two, 'file'), 'of its owner', { flush: true });
      const abandoned = n1.abandon(volume, one, never);
      if (owner !== undefined) await abandoned;
      else await expect(abandoned).rejects.toThrow(InUseError);
      await expectWritable(two);
      await n2.unmount(volume, two, held);
      await n1.abandon(volume, one, never);
      await expect(bench().read(volume, 'more')).resolves.toBe('acknowledged');
    },
  );

  test.each([
    ['of this release', 'machine.n1'],
    ['of an earlier release', undefined],
  ])(
    'a daemon that starts again ends its own device, which it made as one %s, and whose mount is gone',
    async (_, earlier) => {
      const [one] = places();
      const volume = await bench().created('db');
      await hostOf(earlier).mount(volume, one, lost);
      await using monitor = await keptOpen(one);
      const heldFile = `/proc/${monitor.pid}/fd/3`;
      await writeFile(heldFile, 'early', { flush: true });
      const restarted = hostOf('machine.n1');
      await expect(restarted.abandon(volume, one, never)).rejects.toThrow(InUseError);
      await expect(writeFile(heldFile, 'late', { flush: true })).rejects.toThrow(/EIO/);
      await monitor.stop();
      await restarted.abandon(volume, one, never);
      await expect(bench().loopDevices()).resolves.toEqual([]);
    },
  );

  test('of two mounts of one volume, each daemon ends its own, whichever file the volume has now', async () => {
    const [one, two] = places();
    const [n1, n2] = [hostOf('machine.n1'), hostOf('machine.n2')];
    const volume = await bench().created('db');
    await n1.mount(volume, one, lost);
    await using monitor = await keptOpen(one);
    const heldFile = `/proc/${monitor.pid}/fd/3`;
    await n2.takeover?.takeOver(volume, former, held);
    await n2.mount(volume, two, held);
    await writeFile(join(two, 'file'), 'of its owner', { flush: true });
    await expect(n1.abandon(volume, one, never)).rejects.toThrow(InUseError);
    await expect(writeFile(heldFile, 'late', { flush: true })).rejects.toThrow(/EIO/);
    await expectWritable(two);
    await monitor.stop();
    await n1.abandon(volume, one, never);
    await expectWritable(two);
    await n2.unmount(volume, two, held);
    await expect(bench().loopDevices()).resolves.toEqual([]);
  });

  test('a Mount that is refused because another daemon still has the file attached is undone without a change', async () => {
    const [one, two] = places();
    const [n1, n2] = [hostOf('machine.n1'), hostOf('machine.n2')];
    const volume = await bench().created('db');
    await n1.mount(volume, one, lost);
    await writeFile(join(one, 'file'), 'of its owner', { flush: true });
    await expect(n2.mount(volume, two, held)).rejects.toThrow(InUseError);
    await n2.unmount(volume, two, held);
    await expect(bench().mounts()).resolves.toEqual([one]);
    await expectWritable(one);
    await n1.unmount(volume, one, lost);
  });

  test('an unmount with on-lost=keep, of a volume that another daemon has taken over, mounts and ends nothing of it', async () => {
    const [one, two] = places();
    const [n1, n2] = [hostOf('machine.n1'), hostOf('machine.n2')];
    const volume = await bench().created('db');
    await n1.mount(volume, one, lost);
    await n2.takeover?.takeOver(volume, former, held);
    await n2.mount(volume, two, held);
    await writeFile(join(two, 'file'), 'of its owner', { flush: true });
    await n1.unmount(volume, one, never);
    await expect(bench().mounts()).resolves.toEqual([two]);
    await expectWritable(two);
    await n2.unmount(volume, two, held);
  });

  test('a file system that another daemon has frozen and unmounted is left to that daemon', async () => {
    const [one, two] = places();
    const [n1, n2] = [hostOf('machine.n1'), hostOf('machine.n2')];
    const volume = await bench().created('db');
    await n2.mount(volume, two, held);
    await command('fsfreeze', ['--freeze', two]);
    await command('umount', [two]);
    await n1.abandon(volume, one, never);
    await expect(bench().loopDevices()).resolves.toHaveLength(1);
    await n2.unmount(volume, two, held);
    await expect(bench().loopDevices()).resolves.toEqual([]);
  });
}
