// A process in uninterruptible sleep does not keep the others of its container running. Real control
// groups of both versions, and a file system that hangs. Needs root.
import { isDeepStrictEqual } from 'node:util';
import { expect, test } from '@jest/globals';
import { freezeOf } from '../../../lib/linux/control-group.ts';
import { processFileSync } from '../../../lib/linux/proc.ts';
import { KernelStops } from '../../../sentinel/stops/kernel-stops.ts';
import type { HungFileSystem } from '../../support/hung-file-system.ts';
import { makeHungFileSystem } from '../../support/hung-file-system.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { UserGroup } from './user-group.ts';
import { makeUserGroup, programs, versions } from './user-group.ts';

const stops = new KernelStops();

/** Starts a process that waits for the file system that hangs. */
async function startSleeper(container: UserGroup, { path }: HungFileSystem) {
  const sleeper = await container.start(`echo >> "$1"; exec cat ${path}/file`);
  const isAsleep = () => /request_wait/.test(processFileSync(sleeper.pid, 'wchan') ?? '');
  await waitFor(isAsleep, 5_000, 'the sleep');
  return sleeper;
}

describeWith(['root', 'fuse'], 'a container with a process in uninterruptible sleep', () => {
  test.each(versions)(
    'stands still but for the sleeper, which freezes when it wakes (control groups v%d)',
    async (version) => {
      await using container = await makeUserGroup(version);
      if (!container) return;
      await using hung = await makeHungFileSystem();
      const { user, group } = container;
      const writers = [
        await container.start(programs.writer),
        await container.start(programs.reforking),
        await container.start(programs.writer, await container.inner('inner')),
      ];
      const sleeper = await startSleeper(container, hung);
      await stops.freeze(user);
      const expected = { is: 'freezing', sleepers: [`cat (pid ${sleeper.pid})`] };
      for (let call = 0; call < 3; call += 1) {
        // The others need a moment.
        const isThat = async () => isDeepStrictEqual(await stops.standing(user), expected);
        await waitFor(isThat, 5_000, `the standing to be ${JSON.stringify(expected)}`);
        for (const writer of writers) expect(await writer.writes()).toBe(false);
        await stops.hold(user);
      }
      expect(freezeOf(group)?.isRequested).toBe(false);

      await hung[Symbol.asyncDispose]();
      await waitFor(async () => (await stops.standing(user)).is === 'held', 5_000, 'all to freeze');
      for (const writer of writers) expect(await writer.writes()).toBe(false);
      await stops.release(user, false);
      for (const writer of writers) await writer.untilItWrites();
      await sleeper.finished;
    },
  );

  test.each(versions)(
    'is not taken for frozen because a group inside it is empty (control groups v%d)',
    async (version) => {
      await using container = await makeUserGroup(version);
      if (!container) return;
      await using hung = await makeHungFileSystem();
      const { user } = container;
      const sleeper = await startSleeper(container, hung);
      await container.inner('inner');
      await stops.freeze(user);
      expect((await stops.standing(user)).is).toBe('freezing');
      await hung[Symbol.asyncDispose]();
      await waitFor(async () => (await stops.standing(user)).is === 'frozen', 5_000, 'the freeze');
      await stops.release(user, false);
      await sleeper.finished;
    },
  );

  test.each(versions)(
    'is frozen although a process waits in vfork for a child (control groups v%d)',
    async (version) => {
      await using container = await makeUserGroup(version);
      if (!container) return;
      const { user } = container;
      await container.start(programs.vforking);
      // The report of a group with groups inside does not suffice: each process is looked at.
      const writer = await container.start(programs.writer, await container.inner('inner'));
      await stops.freeze(user);
      await waitFor(async () => (await stops.standing(user)).is === 'frozen', 5_000, 'the freeze');
      await stops.release(user, false);
      await writer.untilItWrites();
    },
  );

  test.each(versions)(
    'is released, and killed, while the process sleeps (control groups v%d)',
    async (version) => {
      await using container = await makeUserGroup(version);
      if (!container) return;
      await using hung = await makeHungFileSystem();
      const { user } = container;
      const writer = await container.start(programs.writer);
      const sleeper = await startSleeper(container, hung);
      await stops.freeze(user);
      await stops.hold(user);
      await stops.release(user, false);
      await writer.untilItWrites();
      expect(await stops.standing(user)).toEqual({ is: 'running' });
      await stops.hold(user);
      await stops.kill(user);
      expect(await writer.finished).toMatchObject({ code: 137 });
      await hung[Symbol.asyncDispose]();
      await sleeper.finished;
      await waitFor(async () => (await stops.standing(user)).is === 'ended', 5_000, 'the end');
    },
  );
});
