// What a sentinel has stopped is found by a successor that knows nothing: real control groups of both
// versions with real processes. Needs root.
import { expect, test } from '@jest/globals';
import { processStatSync } from '../../../lib/linux/proc.ts';
import type { User } from '../../../sentinel/ports.ts';
import { KernelUserScan } from '../../../sentinel/scan/user-scan.ts';
import { KernelStops } from '../../../sentinel/stops/kernel-stops.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { makeUserGroup, mountsOf, programs, versions } from './user-group.ts';

const stops = new KernelStops();
const scan = new KernelUserScan();

/** Other tests have groups on this machine, too. */
async function foundAs(matches: (user: User) => boolean): Promise<User[]> {
  return (await scan.held([])).filter(matches);
}

describeWith(['root'], 'a sentinel that knows nothing', () => {
  test.each(versions)(
    'finds and releases a container that was frozen or held (control groups v%d)',
    async (version) => {
      await using container = await makeUserGroup(version);
      if (!container) return;
      const { user, group } = container;
      const writer = await container.start(programs.writer);
      const inner = await container.start(programs.writer, await container.inner('inner'));
      const found = () => foundAs(({ id }) => id === user.id);
      expect(await found()).toEqual([]);
      for (const stop of ['freeze', 'hold'] as const) {
        await stops[stop](user);
        const [again, ...others] = await found();
        expect(others).toEqual([]);
        if (!again) throw new Error('it was not found');
        expect(again).toMatchObject({ kind: 'container', id: user.id, group });
        await stops.release(again, false);
        await writer.untilItWrites();
        await inner.untilItWrites();
        await waitFor(() => stops.forget(again), 5_000, 'the group to be removed');
        expect(await found()).toEqual([]);
      }
    },
  );

  test.each(versions)(
    'finds a container that was held and released, until it is forgotten (control groups v%d)',
    async (version) => {
      await using container = await makeUserGroup(version);
      if (!container) return;
      const { user } = container;
      const writer = await container.start(programs.writer);
      const found = () => foundAs(({ id }) => id === user.id);
      await stops.hold(user);
      expect(await stops.forget(user)).toBe(false);
      await stops.release(user, false);
      await writer.untilItWrites();
      expect(await found()).toMatchObject([{ kind: 'container', id: user.id }]);
      expect(await stops.standing(user)).toEqual({ is: 'running' });
      await waitFor(() => stops.forget(user), 5_000, 'the group to be removed');
      expect(await stops.forget(user)).toBe(true);
      expect(await found()).toEqual([]);

      // What a person had paused needs nothing of its engine.
      await stops.hold(user);
      await stops.release(user, true);
      expect(await found()).toEqual([]);
    },
  );

  test.each(versions)(
    'finds and releases a process of the host (control groups v%d)',
    async (version) => {
      await using container = await makeUserGroup(version);
      if (!container) return;
      const writer = await container.start(programs.writer);
      const { pid } = writer;
      const process = { pid, started: processStatSync(pid)?.started ?? '', name: 'sh' };
      const user: User = { kind: 'host', key: 'a process', process, volumes: [] };
      const ofVersion = new KernelStops({ mounts: await mountsOf(version) });
      await ofVersion.hold(user);
      const found = () => foundAs((each) => each.process?.pid === pid);
      const [again] = await found();
      if (!again) throw new Error('it was not found');
      expect(again).toMatchObject({ kind: 'host', key: `${pid} ${process.started}`, process });
      await ofVersion.release(again, false);
      await writer.untilItWrites();
      expect(await found()).toEqual([]);
    },
  );
});
