import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { DriverVolume, Progress } from '../../../lib/volumes/drivers/driver.ts';
import { startProcess, waitFor } from '../../support/processes.ts';
import type { DriverBench } from '../bench/driver-bench.ts';
import { never } from '../bench/driver-bench.ts';
import { realTime } from '../bench/stopped-copy.ts';

const program = new URL('operation.ts', import.meta.url).pathname;
const bigBytes = 200 * 2 ** 20;

/** Checks long copies that are aborted, or whose daemon is killed; needs copies that take time. */
export function interruptionContract(bench: () => DriverBench): void {
  let priority: AsyncDisposable;
  beforeAll(async () => {
    priority = await realTime();
  });
  afterAll(async () => {
    await priority[Symbol.asyncDispose]();
  });

  test('a long copy reports its progress', async () => {
    const source = await bigVolume();
    const reports: Progress[] = [];
    const copying = bench().driver.clone(source, bench().volume('copy'), {
      ...never,
      onProgress: (progress) => reports.push(progress),
    });
    const cp = await bench().pauseCopy(process.pid);
    try {
      await waitFor(() => reports.length >= 2, 10_000, 'progress');
    } finally {
      process.kill(cp, 'SIGCONT');
    }
    await copying;
    const [first] = reports;
    const last = reports.at(-1);
    expect(first?.doneBytes).toBeLessThanOrEqual(first?.totalBytes ?? 0);
    expect(first?.doneFiles).toBeLessThanOrEqual(first?.totalFiles ?? 0);
    expect(first?.totalFiles).toBeGreaterThan(0);
    expect(last).toEqual({ ...first, doneBytes: last?.totalBytes, doneFiles: last?.totalFiles });
    expect(first?.totalBytes).toBeGreaterThanOrEqual(bigBytes);
    expect(first?.totalBytes).toBeLessThan(bigBytes * 1.5);
  });

  test.each(['snapshot', 'restore', 'clone'] as const)(
    'an aborted %s leaves everything unchanged',
    async (operation) => {
      const { driver } = bench();
      const { volume, snapshot } = await bigVolume();
      const mountpoint = bench().mountpoint('db');
      if (operation === 'snapshot') await driver.mount(volume, mountpoint, never);
      const gaveUp = new AbortController();
      const { signal } = gaveUp;
      const target = { volume, snapshot };
      const running = {
        snapshot: () => driver.snapshot({ volume, snapshot: 'tuesday', mountpoint }, { signal }),
        restore: () => driver.restore(target, { signal }),
        clone: () => driver.clone(target, bench().volume('copy'), { signal }),
      }[operation]();
      await bench().pauseCopy(process.pid);
      gaveUp.abort(new Error('gave up'));
      await expect(running).rejects.toThrow('gave up');

      await expect(bench().leftovers()).resolves.toEqual([]);
      expect(existsSync(join(bench().storageDir, 'copy'))).toBe(false);
      await expect(driver.restore({ volume, snapshot: 'tuesday' }, never)).rejects.toThrow(
        operation === 'snapshot' ? /mounted|not there/ : /not there/,
      );
      if (operation === 'snapshot') {
        // This would hang if the file system were still frozen.
        await writeFile(join(mountpoint, 'state'), 'after');
        await driver.unmount(volume, mountpoint, never);
      }
      await expect(bench().read(volume, 'state')).resolves.toBe('after');
    },
  );

  test.each(['snapshot', 'restore', 'clone'] as const)(
    'a crash in the middle of a %s changes nothing, and the next call completes',
    async (operation) => {
      const { volume, snapshot } = await bigVolume();
      const mountpoint = bench().mountpoint('db');
      if (operation === 'snapshot') await bench().driver.mount(volume, mountpoint, never);
      await crashDuring(operation, volume, mountpoint);

      const driver = bench().restarted();
      expect(existsSync(join(bench().storageDir, 'copy'))).toBe(false);
      if (operation === 'snapshot') {
        await driver.recover(mountpoint, never);
        await driver.recover(mountpoint, never);
        await writeFile(join(mountpoint, 'state'), 'after');
        await driver.snapshot({ volume, snapshot: 'tuesday', mountpoint }, never);
        await driver.unmount(volume, mountpoint, never);
        await driver.restore({ volume, snapshot: 'tuesday' }, never);
        await expect(bench().read(volume, 'state')).resolves.toBe('after');
      } else {
        await expect(bench().read(volume, 'state')).resolves.toBe('after');
        const copy = operation === 'restore' ? volume : bench().volume('copy');
        if (operation === 'restore') await driver.restore({ volume, snapshot }, never);
        else await driver.clone({ volume, snapshot }, copy, never);
        await expect(bench().read(copy, 'state')).resolves.toBe('before');
      }
      // The new daemon removes what the old one left.
      await waitFor(
        async () => (await bench().leftovers()).length === 0,
        5000,
        'the leftovers to be swept',
      );
    },
  );

  /** Makes a large volume with the state `before` in its snapshot `monday`, and `after` now. */
  async function bigVolume() {
    const { volume, mountpoint } = await bench().mounted('db');
    await writeFile(join(mountpoint, 'big'), Buffer.alloc(bigBytes, 1));
    await writeFile(join(mountpoint, 'state'), 'before');
    await bench().driver.snapshot({ volume, snapshot: 'monday', mountpoint }, never);
    await writeFile(join(mountpoint, 'state'), 'after');
    await bench().driver.unmount(volume, mountpoint, never);
    return { volume, snapshot: 'monday' };
  }

  async function crashDuring(operation: string, volume: DriverVolume, mountpoint: string) {
    const { volumeDir, fixture } = bench();
    const place = [fixture.driverName, volumeDir, operation, JSON.stringify(volume), mountpoint];
    await using daemon = startProcess(process.execPath, [program, ...place]);
    const cp = await bench().pauseCopy(daemon.pid);
    daemon.kill('SIGKILL');
    await daemon.finished;
    // The copy dies with its daemon, so nobody writes to what is swept.
    await waitFor(() => isGone(cp), 2000, 'the copy to end, too');
    await expect(bench().leftovers()).resolves.toHaveLength(1);
  }
}

async function isGone(pid: number): Promise<boolean> {
  const line = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return line === '' || /\) [ZX] /.test(line);
}
