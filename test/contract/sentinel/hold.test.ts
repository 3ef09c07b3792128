// The sentinel's hold on a container: real control groups of both versions with real processes.
// Needs root; waits for real processes.
import { mkdir, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import type { ControlGroup } from '../../../lib/linux/control-group.ts';
import {
  isBeingKilled,
  isEmpty,
  killGroup,
  moveTo,
  setFrozen,
} from '../../../lib/linux/control-group.ts';
import { readMounts } from '../../../lib/linux/mountinfo.ts';
import { systemClock } from '../../../lib/running/clock.ts';
import { hold, isHeld, unhold } from '../../../sentinel/hold.ts';
import { startProcess, waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';

const clock = systemClock();

/** Makes a control group like a container's, with one child group; a process writes in each. */
async function counting(version: 1 | 2) {
  await using stack = new AsyncDisposableStack();
  const mounts = await readMounts();
  const wantedType = version === 1 ? 'cgroup' : 'cgroup2';
  const mount = mounts.find(
    ({ fsType, superOptions }) =>
      fsType === wantedType && (version === 2 || superOptions.includes('freezer')),
  );
  if (!mount) return undefined;
  const directory = stack.use(await makeTemporaryDirectory());
  const group: ControlGroup = {
    path: join(mount.mountpoint, `berth-test-${process.pid}`),
    version,
  };
  const inner: ControlGroup = { path: join(group.path, 'inner'), version };
  await mkdir(inner.path, { recursive: true });
  stack.defer(async () => {
    await waitFor(() => isEmpty(group), 5_000, 'the group to be empty');
    await unhold(group, clock);
    await rmdir(inner.path);
    await rmdir(group.path);
  });
  const files = ['own', 'inner'].map((name) => join(directory.path, name));
  const script = 'while :; do echo >> "$1"; sleep 0.002; done';
  const counters = files.map((file) => startProcess('sh', ['-c', script, 'sh', file]));
  for (const counter of counters) stack.defer(() => counter.kill('SIGKILL'));
  stack.defer(() => killGroup(group));
  await moveTo(group, counters[0]?.pid ?? 0);
  await moveTo(inner, counters[1]?.pid ?? 0);
  const counts = () => Promise.all(files.map(async (file) => (await stat(file)).size));
  /** Returns which of the two processes are still writing. */
  const running = async () => {
    const before = await counts();
    await pause(150);
    const after = await counts();
    return after.map((count, index) => count !== before[index]);
  };
  await waitFor(async () => (await counts()).every((size) => size > 0), 5_000, 'both to write');
  const owned = stack.move();
  return {
    group,
    counters,
    running,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

describeWith(['root'], 'a held container', () => {
  test.each([1, 2] as const)(
    'stands still although its engine thaws it, until it is released (control groups v%d)',
    async (version) => {
      await using container = await counting(version);
      if (!container) {
        process.stderr.write(`skipped: control groups of version ${version} are not mounted\n`);
        return;
      }
      const { group, running, counters } = container;
      expect(await isHeld(group)).toBe(false);
      expect(await running()).toEqual([true, true]);
      await setFrozen(group, true); // As the engine does to pause a container.
      await hold(group, clock);
      expect(await isHeld(group)).toBe(true);
      await setFrozen(group, false);
      expect(await running()).toEqual([false, false]);
      expect(await isHeld(group)).toBe(true);
      expect(await isBeingKilled(group)).toBe(false);
      await unhold(group, clock);
      expect(await running()).toEqual([true, true]);
      expect(await isHeld(group)).toBe(false);

      await hold(group, clock);
      counters[0]?.kill('SIGKILL');
      if (version === 1) expect(await isBeingKilled(group)).toBe(true);
      await killGroup(group);
      await waitFor(() => isEmpty(group), 2_000, 'all processes to end');
    },
  );
});
