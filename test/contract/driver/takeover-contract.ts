import { link, mkdir, open, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import type { DriverTakeover } from '../../../lib/volumes/drivers/driver.ts';
import type { FormerOwner } from '../../../lib/volumes/drivers/takeover.ts';
import type { DriverBench } from '../bench/driver-bench.ts';
import { command, never } from '../bench/driver-bench.ts';

/**
 * Checks what a driver does at the storage after an unclean end. The former owner is a mount of this
 * same kernel: its writes reach the storage as those of another machine would.
 */
export function takeoverContract(bench: () => DriverBench): void {
  const takeover = (): DriverTakeover => {
    const { takeover: found } = bench().driver;
    if (found === undefined) throw new Error('this driver has no takeover');
    return found;
  };

  const former = (mark: string, token = 7): FormerOwner => ({
    ...{ host: 'n1', owner: 'machine.n1', addresses: [], mark, token },
    since: '2026-01-02T03:04:05.000Z',
  });

  test('what a former owner writes after the takeover does not reach the next one', async () => {
    const { driver } = bench();
    const { volume, mountpoint } = await bench().mounted('db');
    await writeFile(join(mountpoint, 'before'), 'kept', { flush: true });
    await takeover().takeOver(volume, former('mark-1'), never);
    expect(await takeover().putAside(volume)).toMatchObject([
      { mark: 'mark-1', host: 'n1', token: 7, writtenAt: undefined },
    ]);
    const next = bench().mountpoint('next');
    await driver.mount(volume, next, never);
    await writeFile(join(next, 'mine'), 'of the next', { flush: true });
    await writeFile(join(mountpoint, 'stale'), Buffer.alloc(2 ** 20, 1), { flush: true });
    await command('sync', ['--file-system', mountpoint]);
    expect((await readdir(next)).filter((name) => name !== 'lost+found')).toEqual([
      ...['before', 'mine'],
    ]);
    // The late unmount of the former owner does not touch the next one's mount.
    await driver.abandon(volume, mountpoint, never);
    expect(await readFile(join(next, 'before'), 'utf8')).toBe('kept');
    await writeFile(join(next, 'mine'), 'still writable', { flush: true });
    await driver.unmount(volume, next, never);
    await expect(bench().read(volume, 'mine')).resolves.toBe('still writable');

    const [aside] = await takeover().putAside(volume);
    expect(aside).toMatchObject({ mark: 'mark-1', writtenAt: expect.any(String) });
    const { writtenBytes = 2 ** 20 } = aside ?? {}; // Not known where the pool has no clones.
    expect(writtenBytes).toBeGreaterThanOrEqual(2 ** 20);
    expect(writtenBytes).toBeLessThan(2 * 2 ** 20);
    expect((await stat(aside?.path ?? '')).isFile()).toBe(true);
    await takeover().discard(volume, 'mark-1', never);
    await takeover().discard(volume, 'mark-1', never);
    expect(await takeover().putAside(volume)).toEqual([]);
    await expect(bench().read(volume, 'before')).resolves.toBe('kept');
  });

  test('a takeover that is repeated changes nothing, one from another owner is made', async () => {
    const { driver } = bench();
    const volume = await bench().created('db');
    await takeover().takeOver(volume, former('mark-1'), never);
    await bench().inside(volume, (path) => writeFile(join(path, 'file'), 'new', { flush: true }));
    await takeover().takeOver(volume, former('mark-1'), never);
    await expect(bench().read(volume, 'file')).resolves.toBe('new');
    await takeover().takeOver(volume, former('mark-2', 9), never);
    await expect(bench().read(volume, 'file')).resolves.toBe('new');
    const kept = await takeover().putAside(volume);
    expect(kept.map(({ mark }) => mark).sort()).toEqual(['mark-1', 'mark-2']);
    expect(kept.map(({ writtenAt }) => writtenAt)).toEqual([undefined, undefined]);
    expect(await bench().leftovers()).toEqual([]);
    await driver.remove(volume, never);
    expect(await takeover().putAside(volume)).toEqual([]);
  });

  test('a takeover that gives up leaves the volume as it was', async () => {
    const volume = await bench().created('db');
    const gone = AbortSignal.abort(new Error('the caller has left'));
    await expect(takeover().takeOver(volume, former('mark-1'), { signal: gone })).rejects.toThrow(
      'the caller has left',
    );
    expect(await takeover().putAside(volume)).toEqual([]);
    expect(await bench().leftovers()).toEqual([]);
  });

  test('says what a takeover means in this pool', async () => {
    await expect(takeover().ability({ isNeeded: false })).resolves.toBeUndefined();
    const canClone = bench().fixture.pool !== 'ext4';
    const ability = canClone ? 'at-once' : 'full-copy';
    await expect(takeover().ability({ isNeeded: true })).resolves.toBe(ability);
    expect(await bench().leftovers()).toEqual([]);
  });
}

/** Checks what of a former owner's late writes counts, on a pool with clones. */
export function lateWritesTests(bench: () => DriverBench): void {
  const former = (mark: string): FormerOwner => ({
    ...{ host: 'n1', owner: 'machine.n1', addresses: [], mark, token: 7 },
    since: '2026-01-02T03:04:05.000Z',
  });

  test('what only the kernel of a former owner writes after the takeover does not count', async () => {
    const { driver } = bench();
    const { volume, mountpoint } = await bench().mounted('db');
    await writeFile(join(mountpoint, 'before'), Buffer.alloc(2 ** 16, 7), { flush: true });
    await driver.takeover?.takeOver(volume, former('mark-1'), never);
    const [before] = (await driver.takeover?.putAside(volume)) ?? [];
    const written = async () => (await stat(before?.path ?? '', { bigint: true })).mtimeNs;
    const atTakeover = await written();
    // An ext4 marks its journal, and writes in place what the journal has.
    await driver.abandon(volume, mountpoint, never);
    expect((await written()) > atTakeover).toBe(bench().fixture.options.fs === 'ext4');
    expect(await driver.takeover?.putAside(volume)).toMatchObject([
      { mark: 'mark-1', writtenAt: undefined, writtenBytes: undefined },
    ]);
    await driver.takeover?.discard(volume, 'mark-1', never);
    await driver.takeover?.takeOver(volume, former('mark-2'), never);
    const { path = '' } = (await driver.takeover?.putAside(volume))?.[0] ?? {};
    await using file = await open(path, 'r+');
    await file.write(Buffer.alloc(512, 9), 0, 512, 8 * 2 ** 20); // A late write of one sector.
    await file.sync();
    expect(await driver.takeover?.putAside(volume)).toMatchObject([
      { mark: 'mark-2', writtenAt: expect.any(String), writtenBytes: 512 },
    ]);
    await driver.takeover?.discard(volume, 'mark-2', never);
    expect(await readdir(join(bench().storageDir, 'db', 'aside'))).toEqual([]);
    expect(await bench().leftovers()).toEqual([]);
  });
}

/** Checks each state in which a crash can leave the takeover of an image. */
export function imageTakeoverTests(bench: () => DriverBench): void {
  test('a takeover that a crash has ended at any step is completed by a repeat', async () => {
    const { takeover } = bench().driver;
    if (takeover === undefined) throw new Error('this driver has no takeover');
    const volume = await bench().created('db');
    const home = join(bench().storageDir, 'db');
    const [image, aside] = [join(home, 'volume.img'), join(home, 'aside')];
    const former = {
      ...{ host: 'n1', owner: 'machine.n1', addresses: [], mark: 'mark-1', token: 7 },
      since: '2026-01-02T03:04:05.000Z',
    };
    const before = (await stat(image)).ino;
    // Steps 1 and 3 were made: notes, and a second name of the old inode.
    await mkdir(aside);
    await writeFile(join(aside, 'n1.7.mark-1.json'), '{"half": ');
    await link(image, join(aside, 'n1.7.mark-1.img'));
    expect(await takeover.putAside(volume)).toHaveLength(1);
    await takeover.takeOver(volume, former, never);
    const after = (await stat(image)).ino;
    expect(after).not.toBe(before);
    expect((await stat(join(aside, 'n1.7.mark-1.img'))).ino).toBe(before);
    expect(await takeover.putAside(volume)).toMatchObject([{ mark: 'mark-1', host: 'n1' }]);
    await takeover.takeOver(volume, former, never);
    expect((await stat(image)).ino).toBe(after);
    await expect(bench().inside(volume, async () => 'mounted')).resolves.toBe('mounted');
  });
}
