// What a volume's own file system still does when the sentinel calls it frozen: a real ext4 on a loop
// device that discards. Needs root.
import { mkdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { currentMountsAt } from '../../../lib/linux/mountinfo.ts';
import { run } from '../../../lib/linux/run.ts';
import { machineFileSystems } from '../../../sentinel/file-systems.ts';
import { describeWith } from '../../support/requirements.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';

const files = 400;

describeWith(['root'], 'a file system', () => {
  test('counts as frozen only when its discards have ended', async () => {
    await using stack = new AsyncDisposableStack();
    const { path } = stack.use(await makeTemporaryDirectory());
    const [image, mountpoint] = [join(path, 'image'), join(path, 'mount')];
    await Promise.all([writeFile(image, ''), mkdir(mountpoint)]);
    await truncate(image, 2 ** 30);
    await run('mkfs.ext4', ['-q', image]);
    await run('mount', ['-o', 'loop,discard', image, mountpoint]);
    stack.defer(async () => {
      await run('umount', [mountpoint]);
    });
    const fileSystem = { mountpoint, ownsFileSystem: true };
    stack.defer(() => machineFileSystems.thaw(fileSystem));
    const names = Array.from({ length: files }, (_, index) => join(mountpoint, String(index)));
    for (const name of names) await writeFile(name, Buffer.alloc(500_000));
    await run('sync', ['--file-system', mountpoint]);
    const device = (await currentMountsAt(mountpoint)).at(-1)?.device;
    const discards = async () =>
      Number((await readFile(`/sys/dev/block/${device}/stat`, 'utf8')).trim().split(/\s+/)[11]);
    const before = await discards();

    // Every other one: each is a range of its own.
    for (const name of names.filter((_, index) => index % 2 === 0)) await rm(name);
    await expect(machineFileSystems.freeze(fileSystem)).resolves.toBe('frozen');
    await expect(machineFileSystems.freeze(fileSystem)).resolves.toBe('found');
    await machineFileSystems.settle(fileSystem);
    const frozen = await discards();
    expect(frozen).toBeGreaterThan(before);
    await pause(500);
    // None are left on a quiet machine; a busy one may pause between two for longer than the wait.
    expect((await discards()) - frozen).toBeLessThan((frozen - before) / 2);
  });
});
