import { readFile, statfs, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { processFileSync } from '../../../lib/linux/proc.ts';
import type { DriverVolume } from '../../../lib/volumes/drivers/driver.ts';
import type { FileSystem } from '../../../lib/volumes/drivers/image/image-file.ts';
import type { DriverBench } from '../bench/driver-bench.ts';
import { never } from '../bench/driver-bench.ts';

const grownBytes = 600 * 2 ** 20;

/** Checks that a volume becomes as large as its options say: while it is mounted, and with a Mount. */
export function growTests(bench: () => DriverBench, fs: FileSystem): void {
  const grown = (volume: DriverVolume): DriverVolume => {
    return { ...volume, options: { ...volume.options, size: String(grownBytes) } };
  };
  const room = async (mountpoint: string) => {
    const { blocks, bsize } = await statfs(mountpoint);
    return blocks * bsize;
  };
  const isLarge = async (mountpoint: string) => (await room(mountpoint)) > 450 * 2 ** 20;

  test('a mounted volume grows under a process that writes to it, more than once', async () => {
    const { driver } = bench();
    const { volume, mountpoint } = await bench().mounted('db');
    if (fs === 'ext4' && !mayGrowExt4()) {
      process.stderr.write('this machine lets nobody grow a mounted ext4 (CAP_SYS_RESOURCE)\n');
      const refused = driver.grow?.(grown(volume), mountpoint, never);
      await expect(refused).rejects.toThrow(/needs CAP_SYS_RESOURCE: stop the volume's containers/);
      await driver.unmount(volume, mountpoint, never);
      return;
    }
    await writeFile(join(mountpoint, 'old'), 'kept');
    expect(await isLarge(mountpoint)).toBe(false);
    const writing = writeFile(join(mountpoint, 'new'), Buffer.alloc(64 * 2 ** 20, 7), {
      flush: true,
    });
    await driver.grow?.(grown(volume), mountpoint, never);
    await writing;
    expect(await isLarge(mountpoint)).toBe(true);
    await driver.grow?.(grown(volume), mountpoint, never);
    await writeFile(join(mountpoint, 'much'), Buffer.alloc(410 * 2 ** 20, 1), { flush: true });
    expect((await driver.usage(grown(volume), mountpoint)).sizeBytes).toBe(grownBytes);
    await driver.unmount(grown(volume), mountpoint, never);
    await driver.mount(grown(volume), mountpoint, never);
    expect(await readFile(join(mountpoint, 'old'), 'utf8')).toBe('kept');
    expect(await isLarge(mountpoint)).toBe(true);
    await driver.unmount(grown(volume), mountpoint, never);
  });

  test('a volume that was made larger, also in part before a crash, grows with its next mount', async () => {
    const { driver, storageDir } = bench();
    for (const [name, isExtended] of [
      ['whole', false],
      ['part', true],
    ] as const) {
      const volume = await bench().created(name);
      if (isExtended) await truncate(join(storageDir, name, 'volume.img'), grownBytes);
      const mountpoint = bench().mountpoint(name);
      await driver.mount(grown(volume), mountpoint, never);
      expect(await isLarge(mountpoint)).toBe(true);
      await driver.unmount(grown(volume), mountpoint, never);
    }
  });

  test('a snapshot of before grows when it is restored, or copied, and mounted', async () => {
    const { driver } = bench();
    const { volume, mountpoint } = await bench().mounted('db');
    await writeFile(join(mountpoint, 'file'), 'monday');
    await driver.snapshot({ volume, snapshot: 'monday', mountpoint }, never);
    await driver.unmount(volume, mountpoint, never);
    const monday = { volume: grown(volume), snapshot: 'monday' };
    const copy = { ...grown(volume), name: 'copy' };
    await driver.clone(monday, copy, never);
    await driver.restore(monday, never);
    for (const each of [grown(volume), copy]) {
      await driver.mount(each, mountpoint, never);
      expect(await readFile(join(mountpoint, 'file'), 'utf8')).toBe('monday');
      expect(await isLarge(mountpoint)).toBe(true);
      await driver.unmount(each, mountpoint, never);
    }
  });
}

function mayGrowExt4(): boolean {
  const [, mask] = /^CapEff:\s*(\w+)$/m.exec(processFileSync('self', 'status') ?? '') ?? [];
  const capSysResource = 24n;
  return ((BigInt(`0x${mask ?? 0}`) >> capSysResource) & 1n) === 1n;
}
