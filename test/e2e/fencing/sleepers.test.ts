// A host of each version of control groups is cut off, where a process of the volume's containers
// sleeps uninterruptibly, as one that waits for a network file system that hangs. Engines, etcd and the
// TTL of 10 s are real.

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { processFileSync } from '../../../lib/linux/proc.ts';
import type { HungFileSystem } from '../../support/hung-file-system.ts';
import { makeHungFileSystem } from '../../support/hung-file-system.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { Cluster } from '../hosts/cluster.ts';
import { nodesOf, startCluster } from '../hosts/cluster.ts';
import type { ClockWriter } from './clock-writer.ts';
import { startClockWriter } from './clock-writer.ts';
import { eventsOf } from './events.ts';
import { linesBesideSuccessor, logOf } from './successor.ts';

const hosts = [
  { controlGroups: 1, index: 0 },
  { controlGroups: 2, index: 1 },
] as const;

describeWith(['docker', 'etcd', 'fuse'], 'a host that is cut off', () => {
  let cluster: Cluster;
  const all: HungFileSystem[] = [];
  beforeAll(async () => {
    // Before the hosts, which would not see it otherwise.
    for (const _ of [...hosts, ...hosts]) all.push(await makeHungFileSystem());
    cluster = await startCluster({
      engines: hosts.map(({ controlGroups }) => ({ docker: '26.1', controlGroups })),
      berth: { ttl: '10s', lockTimeout: '50s' },
    });
  });
  afterAll(async () => {
    for (const each of all) await each[Symbol.asyncDispose]();
    await cluster?.[Symbol.asyncDispose]();
  });

  describe.each(hosts)('with control groups v$controlGroups', ({ index }) => {
    /** Waits until a process of the container waits for the file system that hangs. */
    async function untilOneSleeps(container: string): Promise<void> {
      const { one } = nodesOf(cluster, index);
      const pids = async () =>
        (await one.dockerOk('top', container, '-o', 'pid')).split('\n').slice(1).map(Number);
      const isAsleep = (pid: number) => /request_wait/.test(processFileSync(pid, 'wchan') ?? '');
      await waitFor(async () => (await pids()).some(isAsleep), 10_000, `${container} to sleep`);
    }

    /** Cuts the host off while that container sleeps; another host must then be the only writer. */
    async function checkWhileItSleeps(
      sleeper: string,
      { volume, waitUntil }: ClockWriter,
      hung: HungFileSystem,
    ): Promise<void> {
      const { one, two } = nodesOf(cluster, index);
      await untilOneSleeps(sleeper);
      await one.host.disconnect();
      try {
        expect(await linesBesideSuccessor(cluster, two, volume)).toEqual([]);
        const events = await eventsOf(one, volume);
        expect(events).toContainEqual(
          expect.stringMatching(/sleep in the kernel.* cat \(pid \d+\)/),
        );
        expect(events).not.toContainEqual(expect.stringMatching(/^resumed/));
      } finally {
        await hung[Symbol.asyncDispose]();
        await one.host.reconnect();
      }
      await waitUntil('exited', 30_000);
    }

    const sleep = 'while :; do cat /hang/file; usleep 10000; done 2> /dev/null';

    test('stops all other processes of a container while one of them sleeps', async () => {
      const { one } = nodesOf(cluster, index);
      const hung = hungOf(all, 2 * index);
      const volume = `same-${one.name}`;
      await one.create(volume, { driver: 'directory' });
      const log = logOf(cluster, volume);
      const flags = ['-v', `${hung.path}:/hang`];
      const first = `(${sleep}) &`;
      const writer = await startClockWriter(one, { name: 'same', volume, log, flags, first });
      await checkWhileItSleeps('same', writer, hung);
    });

    test('stops a container while another one with the volume sleeps', async () => {
      const { one } = nodesOf(cluster, index);
      const hung = hungOf(all, 2 * index + 1);
      const volume = `two-${one.name}`;
      await one.create(volume, { driver: 'directory' });
      const log = logOf(cluster, volume);
      const writer = await startClockWriter(one, { name: 'writer', volume, log });
      const volumes = ['-v', `${volume}:/data`, '-v', `${hung.path}:/hang`];
      const flags = ['-d', '--name', 'sleeper', '--stop-timeout', '0', ...volumes];
      await one.dockerOk('run', ...flags, 'busybox', 'sh', '-c', sleep);
      await checkWhileItSleeps('sleeper', writer, hung);
    });
  });
});

function hungOf(all: readonly HungFileSystem[], index: number): HungFileSystem {
  const hung = all[index];
  if (!hung) throw new Error('there are two for each host');
  return hung;
}
