// How the sentinel's hold and real engines get along: what an engine may do to a container that is
// frozen or held, and what it says afterwards. Needs root and Docker.
import { appendFileSync, existsSync, statSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { controlGroupIn } from '../../../lib/linux/control-group.ts';
import { readMounts } from '../../../lib/linux/mountinfo.ts';
import type { User } from '../../../sentinel/ports.ts';
import { KernelStops } from '../../../sentinel/stops/kernel-stops.ts';
import type { Host } from '../../support/host.ts';
import { startHost } from '../../support/host.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { dockerVersions } from '../../support/tools.ts';

const stops = new KernelStops();
const loop = 'while :; do echo >> /data/log; usleep 2000; done';

/** Runs a container that writes all the time. */
async function startWriter(host: Host) {
  const data = join(host.directory, 'data');
  await mkdir(data, { recursive: true });
  const log = join(data, 'log');
  appendFileSync(log, '');
  const mount = ['-v', `${data}:/data`, '--stop-timeout', '1'];
  const id = await host.dockerOk(
    ...['run', '-d', '--name', 'ww', ...mount, 'busybox', 'sh', '-c', loop],
  );
  const inspect = (field: string) => host.dockerOk('inspect', '-f', `{{${field}}}`, 'ww');
  const pid = await inspect('.State.Pid');
  const group = controlGroupIn(await readFile(`/proc/${pid}/cgroup`, 'utf8'), await readMounts());
  if (!group) throw new Error(`the group of process ${pid} can't be reached`);
  const user: User = { kind: 'container', key: group.path, id, group, volumes: ['db'] };
  const size = () => statSync(log).size;
  const untilItWrites = async () => {
    const before = size();
    await waitFor(() => size() > before, 10_000, 'the container to write');
  };
  await untilItWrites();
  return {
    user,
    inspect,
    untilItWrites,
    writes: async () => {
      const before = size();
      await pause(300);
      return size() > before;
    },
    until: (is: string) =>
      waitFor(async () => (await stops.standing(user)).is === is, 5_000, `it to be ${is}`),
  };
}

describeWith(['docker'], 'an engine', () => {
  test.each(dockerVersions)(
    'pauses and resumes a container that is held, which stands still (Docker %s)',
    async (docker) => {
      await using host = await startHost({ docker });
      const writer = await startWriter(host);
      const { user } = writer;
      await stops.freeze(user);
      await writer.until('frozen');
      // The reason for holding before the engine is asked.
      expect((await host.docker('pause', 'ww')).stderr).toMatch(/not running|not paused|paused/);
      await stops.hold(user);
      for (const command of ['pause', 'unpause', 'pause']) {
        await host.dockerOk(command, 'ww');
        await writer.until('held');
        expect(await writer.writes()).toBe(false);
      }
      expect(await writer.inspect('.State.Status')).toBe('paused');
      await host.dockerOk('unpause', 'ww');
      await stops.release(user, false);
      await writer.untilItWrites();
      expect(await writer.inspect('.State.Status')).toBe('running');
      await host.dockerOk('pause', 'ww');
      expect(await writer.writes()).toBe(false);
      await host.dockerOk('unpause', 'ww');
      await writer.untilItWrites();
    },
  );

  test.each(dockerVersions)(
    'leaves a container held that a person had paused (Docker %s)',
    async (docker) => {
      await using host = await startHost({ docker });
      const writer = await startWriter(host);
      const { user } = writer;
      await host.dockerOk('pause', 'ww');
      expect(await stops.freeze(user)).toBe('found');
      expect(await stops.hold(user)).toBe('found');
      await writer.until('held');
      await host.dockerOk('unpause', 'ww');
      expect(await writer.writes()).toBe(false);
      await host.dockerOk('pause', 'ww');
      await stops.release(user, true);
      await writer.until('frozen');
      await host.dockerOk('unpause', 'ww');
      await writer.untilItWrites();
    },
  );

  test.each(dockerVersions)(
    'starts a process in a held container, and the next hold stops it (Docker %s)',
    async (docker) => {
      await using host = await startHost({ docker });
      const writer = await startWriter(host);
      const { user } = writer;
      await stops.freeze(user);
      await stops.hold(user);
      await writer.until('held');
      await host.dockerOk('exec', '-d', 'ww', 'sh', '-c', loop);
      await writer.untilItWrites();
      await writer.until('running');
      await stops.freeze(user);
      await stops.hold(user);
      await writer.until('held');
      expect(await writer.writes()).toBe(false);
      await stops.release(user, false);
      await writer.untilItWrites();
    },
  );

  test.each(dockerVersions)(
    'stops, kills and starts again a container that was held (Docker %s)',
    async (docker) => {
      await using host = await startHost({ docker });
      const writer = await startWriter(host);
      const { user } = writer;
      await stops.freeze(user);
      await stops.hold(user);
      await host.dockerOk('pause', 'ww');
      const stopping = host.docker('stop', '-t', '1', 'ww');
      await waitFor(() => stops.isBeingKilled(user), 15_000, 'the engine to kill it');
      expect(await writer.writes()).toBe(false);
      await stops.release(user, false);
      expect(await stopping).toMatchObject({ code: 0 });
      await writer.until('ended');
      expect(existsSync(user.group?.path ?? '')).toBe(false);
      await host.dockerOk('start', 'ww');
      await writer.untilItWrites();
      await stops.freeze(user);
      await stops.hold(user);
      await stops.kill(user);
      await waitFor(
        async () => (await writer.inspect('.State.Status')) === 'exited',
        10_000,
        'the engine to see the end',
      );
      await writer.until('ended');
    },
  );
});
