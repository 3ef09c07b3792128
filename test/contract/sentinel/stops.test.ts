// How the sentinel stops containers: real control groups of both versions with real processes, and no
// engine: the tests do to the container's own group what an engine does. Needs root.
import { existsSync } from 'node:fs';
import { expect, test } from '@jest/globals';
import {
  childOf,
  freezeOf,
  makeGroup,
  moveTo,
  ownProcesses,
  processesOf,
  setFrozen,
} from '../../../lib/linux/control-group.ts';
import type { User } from '../../../sentinel/ports.ts';
import { KernelStops } from '../../../sentinel/stops/kernel-stops.ts';
import { isMarked, setMarked } from '../../../sentinel/stops/mark.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { UserGroup } from './user-group.ts';
import { makeUserGroup, programs, versions } from './user-group.ts';

const stops = new KernelStops();

function until(user: User, is: 'running' | 'frozen' | 'held' | 'ended'): Promise<boolean> {
  const isThere = async () => {
    // A process that was forked during the moves is caught by the next call, as the sentinel makes it.
    if (is === 'held') await stops.hold(user);
    return (await stops.standing(user)).is === is;
  };
  return waitFor(isThere, 10_000, `the user to be ${is}`);
}

describeWith(['root'], 'stops a container', () => {
  test.each(versions)(
    'freezes it as a whole, with what it forks, until it is released (control groups v%d)',
    async (version) => {
      await using container = await makeUserGroup(version);
      if (!container) return;
      const { user } = container;
      const writers = [
        await container.start(programs.writer),
        await container.start(programs.reforking),
        await container.start(programs.writer, await container.inner('inner')),
      ];
      expect(await stops.standing(user)).toEqual({ is: 'running' });
      expect(await stops.freeze(user)).toBe('frozen');
      expect(await stops.freeze(user)).toBe('frozen');
      await until(user, 'frozen');
      for (const writer of writers) expect(await writer.writes()).toBe(false);
      await stops.release(user, false);
      await stops.release(user, false);
      expect(await stops.standing(user)).toEqual({ is: 'running' });
      for (const writer of writers) await writer.untilItWrites();
    },
  );

  test.each(versions)(
    'holds it whatever its engine does, and lets the engine pause it (control groups v%d)',
    async (version) => {
      await using container = await makeUserGroup(version);
      if (!container) return;
      const { user, group } = container;
      const writers = [
        await container.start(programs.writer),
        await container.start(programs.reforking),
        await container.start(programs.writer, await container.inner('inner')),
      ];
      await stops.freeze(user);
      await stops.hold(user);
      await stops.hold(user);
      await until(user, 'held');
      // Without a request the report of version 2 may be an old one.
      expect(freezeOf(group)?.isRequested).toBe(false);
      setFrozen(group, true); // As the engine does to pause it.
      await waitFor(() => freezeOf(group)?.is === 'frozen', 5_000, 'the empty group to freeze');
      await stops.hold(user);
      expect(freezeOf(group)?.is).toBe('frozen');
      setFrozen(group, false); // As the engine does to resume it.
      expect(await stops.standing(user)).toEqual({ is: 'held' });
      for (const writer of writers) expect(await writer.writes()).toBe(false);
      await stops.release(user, false);
      for (const writer of writers) await writer.untilItWrites();
      expect(await stops.standing(user)).toEqual({ is: 'running' });
    },
  );

  test.each(versions)(
    'holds a process that an engine starts in it later, at the next call (control groups v%d)',
    async (version) => {
      await using container = await makeUserGroup(version);
      if (!container) return;
      const { user } = container;
      const first = await container.start(programs.writer);
      await stops.hold(user);
      await until(user, 'held');
      const second = await container.start(programs.writer);
      expect(await stops.standing(user)).toEqual({ is: 'running' });
      await stops.freeze(user);
      await stops.hold(user);
      await until(user, 'held');
      expect(await first.writes()).toBe(false);
      expect(await second.writes()).toBe(false);
      await stops.release(user, false);
      await first.untilItWrites();
      await second.untilItWrites();
    },
  );

  test.each(versions)(
    'leaves paused what a person or an inner engine had paused (control groups v%d)',
    async (version) => {
      await using container = await makeUserGroup(version);
      if (!container) return;
      const { user, group } = container;
      const [paused, other] = [await container.inner('paused'), await container.inner('other')];
      const writer = await container.start(programs.writer);
      const innerPaused = await container.start(programs.writer, paused);
      const innerOther = await container.start(programs.writer, other);
      setFrozen(paused, true);
      await stops.freeze(user);
      await stops.hold(user);
      await until(user, 'held');
      await stops.release(user, false);
      await writer.untilItWrites();
      await innerOther.untilItWrites();
      expect(await innerPaused.writes()).toBe(false);

      setFrozen(group, true);
      await stops.freeze(user);
      await stops.hold(user);
      await until(user, 'held');
      expect(freezeOf(group)?.isRequested).toBe(true);
      await stops.release(user, true);
      await until(user, 'frozen');
      for (const each of [writer, innerPaused, innerOther]) expect(await each.writes()).toBe(false);
      setFrozen(group, false);
      await writer.untilItWrites();
    },
  );

  test.each(versions)(
    'stops 3,000 sleeping processes with one that forks all the time (control groups v%d)',
    async (version) => {
      await using container = await makeUserGroup(version);
      if (!container) return;
      const { user, group } = container;
      await container.start(programs.crowd);
      const reforking = await container.start(programs.reforking);
      await stops.freeze(user);
      await stops.hold(user);
      expect(ownProcesses(group)).toEqual([]);
      await until(user, 'held');
      expect(await reforking.writes()).toBe(false);
      await stops.release(user, false);
      await reforking.untilItWrites();
      // It runs where it was held until it is forgotten; stopped meanwhile, it is not moved any more.
      expect(ownProcesses(group)).toEqual([]);
      const forgetting = stops.forget(user);
      await waitFor(() => ownProcesses(group).length > 0, 5_000, 'the first moves');
      await stops.freeze(user);
      await stops.hold(user);
      expect(await forgetting).toBe(false);
      expect(ownProcesses(group)).toEqual([]);
      await until(user, 'held');
      expect(await reforking.writes()).toBe(false);
      await stops.release(user, false);
      await waitFor(() => stops.forget(user), 10_000, 'all moves');
      expect(ownProcesses(group).length).toBeGreaterThan(3_000);
      await reforking.untilItWrites();
      await stops.freeze(user);
      await stops.kill(user);
      await until(user, 'ended');
    },
  );

  test.each(versions)('kills it, frozen, held or running (control groups v%d)', async (version) => {
    for (const stop of ['freeze', 'hold', undefined] as const) {
      await using container = await makeUserGroup(version);
      if (!container) return;
      const { user } = container;
      const writer = await container.start(programs.writer);
      await container.start(programs.reforking, await container.inner('inner'));
      if (stop) await stops[stop](user);
      expect(await stops.isBeingKilled(user)).toBe(false);
      await stops.kill(user);
      await until(user, 'ended');
      expect(await writer.finished).toMatchObject({ code: 137 });
    }
  });

  test('tells that a held container waits to die, in control groups v1', async () => {
    await using container = await makeUserGroup(1);
    if (!container) return;
    const { user } = container;
    const writer = await container.start(programs.writer);
    const other = await container.start(programs.writer);
    await stops.hold(user);
    await until(user, 'held');
    writer.kill('SIGKILL');
    await waitFor(() => stops.isBeingKilled(user), 5_000, 'the signal to be pending');
    expect(await stops.isDying(user)).toBe(false);
    other.kill('SIGKILL');
    for (const pid of processesOf(container.group)) process.kill(pid, 'SIGKILL');
    await waitFor(() => stops.isDying(user), 5_000, 'all to wait to die');
    await stops.release(user, false);
    await Promise.all([writer.finished, other.finished]);
    expect(await stops.isDying(user)).toBe(true);
  });

  test.each(versions)(
    'ignores a container that has ended (control groups v%d)',
    async (version) => {
      const ended = async () => {
        await using container = await makeUserGroup(version);
        if (!container) return undefined;
        expect(await stops.standing(container.user)).toEqual({ is: 'ended' });
        await stops.hold(container.user);
        expect(await stops.standing(container.user)).toEqual({ is: 'ended' });
        return container.user;
      };
      const user = await ended();
      if (!user) return;
      await stops.freeze(user);
      await stops.hold(user);
      await stops.release(user, false);
      await stops.kill(user);
      expect(await stops.isBeingKilled(user)).toBe(false);
      expect(await stops.standing(user)).toEqual({ is: 'ended' });
    },
  );

  test('does not take a group that it can not read for an ended one', async () => {
    const group = { path: '/proc/4194304/root/sys/fs/cgroup/freezer/db', version: 1 } as const;
    const user: User = { kind: 'container', key: group.path, group, volumes: [] };
    await expect(stops.standing(user)).rejects.toThrow(/can't be reached/);
    await expect(stops.freeze(user)).rejects.toThrow(/can't be reached/);
    const noGroup: User = { kind: 'container', key: 'db', id: 'db', volumes: [] };
    expect(await stops.standing(noGroup)).toEqual({ is: 'running' });
    await expect(stops.freeze(noGroup)).rejects.toThrow(/container db can't be reached/);
  });
});

/** The calls of a sentinel that was killed in the middle of stopping a container. */
const crashes: Record<string, (container: UserGroup) => void> = {
  'after the mark': ({ group }) => setMarked(group, true),
  'after the freeze': ({ group }) => {
    setMarked(group, true);
    setFrozen(group, true);
  },
  'before the group that holds it was frozen': (container) => {
    crashes['after the freeze']?.(container);
    makeGroup(heldIn(container));
  },
  'when half of it was moved': (container) => {
    crashes['after the freeze']?.(container);
    makeGroup(heldIn(container));
    setFrozen(heldIn(container), true);
    const half = ownProcesses(container.group).filter((_, index) => index % 2 === 0);
    for (const pid of half) moveTo(heldIn(container), pid);
  },
  'when all of it was moved': (container) => {
    crashes['when half of it was moved']?.(container);
    for (const pid of ownProcesses(container.group)) moveTo(heldIn(container), pid);
  },
  'between the thaw and the end of the mark': (container) => {
    crashes['when all of it was moved']?.(container);
    setMarked(childOf(container.group, 'inner'), true);
    setFrozen(childOf(container.group, 'inner'), true);
    setFrozen(container.group, false);
  },
  'when it was released': (container) => {
    crashes['between the thaw and the end of the mark']?.(container);
    setMarked(container.group, false);
    setFrozen(heldIn(container), false);
  },
  'when half of it was forgotten': (container) => {
    crashes['when it was released']?.(container);
    const half = ownProcesses(heldIn(container)).filter((_, index) => index % 2 === 0);
    for (const pid of half) moveTo(container.group, pid);
  },
};

const heldIn = ({ group }: UserGroup) => childOf(group, 'berth-held');

describeWith(['root'], 'a sentinel that follows one that was killed', () => {
  const cases = versions.flatMap((version) =>
    Object.entries(crashes).map(([when, crash]) => ({ version, when, crash })),
  );
  test.each(cases)(
    'holds and releases a container $when (control groups v$version)',
    async ({ version, crash }) => {
      await using container = await makeUserGroup(version);
      if (!container) return;
      const { user, group } = container;
      const writers = [
        await container.start(programs.writer),
        await container.start(programs.writer),
        await container.start(programs.writer, await container.inner('inner')),
      ];
      crash(container);
      await stops.release(user, false);
      for (const writer of writers) await writer.untilItWrites();
      expect(freezeOf(group)).toMatchObject({ isRequested: false });
      // In version 2 the report of a group that has no process of its own may be an old one.
      if (version === 1) expect(freezeOf(group)?.is).toBe('thawed');
      expect(isMarked(group)).toBe(false);

      crash(container);
      await stops.freeze(user);
      await stops.hold(user);
      await until(user, 'held');
      for (const writer of writers) expect(await writer.writes()).toBe(false);
      expect(freezeOf(group)).toMatchObject({ isRequested: false });
      expect(isMarked(group)).toBe(false);
      await stops.release(user, false);
      for (const writer of writers) await writer.untilItWrites();
      await waitFor(() => stops.forget(user), 5_000, 'the group to be removed');
      for (const writer of writers) await writer.untilItWrites();
      expect(existsSync(heldIn(container).path)).toBe(false);
    },
  );
});
