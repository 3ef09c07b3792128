// What the doctor finds and frees when a sentinel's state is lost: real control groups of both
// versions with real processes. Needs root.
import { randomBytes } from 'node:crypto';
import { mkdir, rmdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { setFrozen } from '../../../lib/linux/control-group.ts';
import { hasCode } from '../../../lib/linux/error-code.ts';
import {
  endCommand,
  endHeld,
  heldGroups,
  isOfThisHost,
  releaseHeld,
} from '../../../lib/linux/held-groups.ts';
import { readMounts } from '../../../lib/linux/mountinfo.ts';
import { runProcess, startProcess, waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';

/** Makes a container's control group with a process that is held in a frozen group inside it. */
async function heldContainer(version: 1 | 2) {
  await using stack = new AsyncDisposableStack();
  const mount = (await readMounts()).find(({ fsType, superOptions }) =>
    version === 1 ? fsType === 'cgroup' && superOptions.includes('freezer') : fsType === 'cgroup2',
  );
  if (!mount) return undefined;
  const container = randomBytes(32).toString('hex');
  const home = join(mount.mountpoint, container);
  const held = join(home, 'berth-held');
  await mkdir(held, { recursive: true });
  stack.defer(async () => {
    // The writer's last child may still be there for a moment.
    for (const path of [held, home]) {
      const isRemoved = () => rmdir(path).then(() => true, isGone);
      await waitFor(isRemoved, 5_000, `${path} to be removed`);
    }
  });
  const file = join(stack.use(await makeTemporaryDirectory()).path, 'file');
  const writer = stack.use(
    startProcess('sh', ['-c', 'while :; do echo >> "$1"; sleep 0.01; done', 'sh', file]),
  );
  const [freezer, frozen, thawed] =
    version === 1 ? ['freezer.state', 'FROZEN', 'THAWED'] : ['cgroup.freeze', '1', '0'];
  stack.defer(() => writeFile(join(held, freezer), thawed));
  const size = async () => (await stat(file).catch(() => ({ size: 0 }))).size;
  await waitFor(async () => (await size()) > 0, 5_000, 'the writer');
  await writeFile(join(held, 'cgroup.procs'), String(writer.pid));
  await writeFile(join(held, freezer), frozen);
  const isRunning = async () => {
    const before = await size();
    await pause(300);
    return (await size()) > before;
  };
  const find = async () => (await heldGroups()).find((group) => group.container === container);
  await waitFor(async () => !(await isRunning()), 5_000, 'the writer to stand still');
  const owned = stack.move();
  return { held, writer, isRunning, find, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** Returns true if what should be removed is not there any more, false if it is busy. */
function isGone(error: unknown): boolean {
  if (hasCode(error, 'EBUSY')) return false;
  if (hasCode(error, 'ENOENT')) return true;
  throw error;
}

describeWith(['root'], 'the groups of a sentinel whose state is lost', () => {
  for (const version of [1, 2] as const) {
    async function withHeld(
      body: (of: NonNullable<Awaited<ReturnType<typeof heldContainer>>>) => Promise<void>,
    ): Promise<void> {
      await using container = await heldContainer(version);
      if (container) return await body(container);
      process.stderr.write(`skipped: control groups of version ${version} are not mounted\n`);
    }

    test(`are found, and their processes run again when released (control groups v${version})`, () =>
      withHeld(async ({ held, writer, isRunning, find }) => {
        const group = await find();
        expect(group).toMatchObject({
          path: held,
          version,
          pids: expect.arrayContaining([writer.pid]),
        });
        if (!group) return;
        expect(Date.now() - group.since.getTime()).toBeLessThan(60_000);
        expect(await isOfThisHost(group)).toBe(true);
        await releaseHeld(group);
        expect(await find()).toBeUndefined();
        expect(await isRunning()).toBe(true);
        await releaseHeld(group);
      }));

    test(`are those of nobody who stands still once they are thawed (control groups v${version})`, () =>
      withHeld(async ({ held, isRunning, find }) => {
        setFrozen({ path: held, version }, false);
        expect(await isRunning()).toBe(true);
        expect(await find()).toBeUndefined();
      }));

    test(`lose their processes when ended, also by the command (control groups v${version})`, async () => {
      for (const byCommand of [false, true]) {
        await withHeld(async ({ writer, find }) => {
          const group = await find();
          if (!group) throw new Error('the group is not found');
          if (byCommand) await runProcess('sh', ['-c', endCommand(group)]);
          else await endHeld(group);
          expect(await writer.finished).toMatchObject({ code: 137 });
          // A child of the writer may take a moment longer.
          await waitFor(async () => (await find()) === undefined, 5_000, 'all processes to end');
          await endHeld(group);
        });
      }
    });
  }
});
