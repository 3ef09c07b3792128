// A host of each version of control groups is cut off, where a process of the volume's containers
// sleeps uninterruptibly, as one that waits for a network file system that hangs. Engines, etcd and the
// TTL of 10 s are real.

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { processFileSync, processStatSync } from '../../../lib/linux/proc.ts';
import type { HungFileSystem } from '../../support/hung-file-system.ts';
import { makeHungFileSystem } from '../../support/hung-file-system.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { Cluster, EngineNode } from '../hosts/cluster.ts';
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
  const hung: HungFileSystem[] = [];
  beforeAll(async () => {
    // Before the hosts, which would not see it otherwise.
    for (const _ of hosts) hung.push(await makeHungFileSystem());
    cluster = await startCluster({
      engines: hosts.map(({ controlGroups }) => ({ docker: '26.1', controlGroups })),
      berth: { ttl: '10s', lockTimeout: '50s' },
    });
  });
  afterAll(async () => {
    for (const each of hung) await each[Symbol.asyncDispose]();
    await cluster?.[Symbol.asyncDispose]();
  });

  test.each(hosts)(
    'stops all other processes of a container, and all other containers of a volume, while one process sleeps (control groups v$controlGroups)',
    async ({ index }) => {
      const { one, two } = nodesOf(cluster, index);
      const hang = ['-v', `${hung[index]?.path}:/hang`];
      const same = await startWriter(cluster, one, 'same', { flags: hang, first: `(${sleep}) &` });
      const other = await startWriter(cluster, one, 'other');
      const flags = ['-d', '--name', 'sleeper', '--stop-timeout', '0', ...hang];
      const shell = ['busybox', 'sh', '-c', sleep];
      await one.dockerOk('run', ...flags, '-v', `${other.volume}:/data`, ...shell);
      for (const container of ['same', 'sleeper']) await untilOneSleeps(one, container);

      await one.host.disconnect();
      try {
        const volumes = [same.volume, other.volume];
        const lines = volumes.map((volume) => linesBesideSuccessor(cluster, two, volume));
        expect(await Promise.all(lines)).toEqual([[], []]);
        for (const volume of volumes) {
          const events = await eventsOf(one, volume);
          expect(events).toContainEqual(
            expect.stringMatching(/sleep in the kernel.* cat \(pid \d+\)/),
          );
          expect(events).not.toContainEqual(expect.stringMatching(/^resumed/));
        }
      } finally {
        await hung[index]?.[Symbol.asyncDispose]();
        await one.host.reconnect();
      }
      for (const { waitUntil } of [same, other]) await waitUntil('exited', 30_000);
    },
  );
});

const sleep = 'while :; do cat /hang/file; usleep 10000; done 2> /dev/null';

async function startWriter(
  cluster: Cluster,
  node: EngineNode,
  name: string,
  options: { flags?: string[]; first?: string } = {},
): Promise<ClockWriter> {
  const volume = `${name}-${node.name}`;
  await node.create(volume, { driver: 'directory' });
  return startClockWriter(node, { name, volume, log: logOf(cluster, volume), ...options });
}

/** Waits until a process of the container waits for the file system, or for another one that does. */
async function untilOneSleeps(node: EngineNode, container: string): Promise<void> {
  const pids = async () =>
    (await node.dockerOk('top', container, '-o', 'pid')).split('\n').slice(1).map(Number);
  const isAsleep = (pid: number) =>
    /request_wait/.test(processFileSync(pid, 'wchan') ?? '') || processStatSync(pid)?.state === 'D';
  await waitFor(async () => (await pids()).some(isAsleep), 10_000, `${container} to sleep`);
}
