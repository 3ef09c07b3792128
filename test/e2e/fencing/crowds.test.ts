// A host of each version of control groups, cut off, stops containers with thousands of processes before another host gets their
// volumes. Engines, etcd, processes and the TTL of 10 s are real.

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { Cluster, EngineNode } from '../hosts/cluster.ts';
import { nodesOf, startCluster } from '../hosts/cluster.ts';
import { startClockWriter } from './clock-writer.ts';
import { eventsOf } from './events.ts';
import { deadlineOf, sentinelReport } from './sentinel-process.ts';
import { linesBesideSuccessor, logOf } from './successor.ts';

/**
 * TEST_SLEEPERS=25000 is the figure of the promise. The sentinels of all tests that run beside look at these processes,
 * too, with the priority of sentinels: 5,000 stopped such tests for seconds.
 */
const idle = Number(process.env.TEST_SLEEPERS ?? 2_000);
const sleepers = (count: number) =>
  `i=0; while [ $i -lt ${count} ]; do sleep 100000 & i=$((i+1)); done`;

const hosts = [
  { controlGroups: 1, index: 0 },
  { controlGroups: 2, index: 1 },
] as const;

describeWith(['docker', 'etcd'], 'a host that is cut off', () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await startCluster({
      engines: hosts.map(({ controlGroups }) => ({ docker: '26.1', controlGroups })),
      berth: { ttl: '10s', lockTimeout: '50s' },
    });
  });
  afterAll(async () => cluster?.[Symbol.asyncDispose]());

  /** Starts a container that forks for each write, beside that many sleeping processes of its own. */
  async function startCrowd(on: EngineNode, kind: string, count: number) {
    const volume = `${kind}-${on.name}`;
    await on.create(volume, { driver: 'directory' });
    const log = logOf(cluster, volume);
    const name = `crowd-${volume}`;
    return startClockWriter(on, { name, volume, everyMs: 2, first: sleepers(count), log });
  }

  describe.each(hosts)('with control groups v$controlGroups', ({ index }) => {
    test('B5: stops a container with 2,000 processes and one that always forks, without its engine', async () => {
      const { one, two } = nodesOf(cluster, index);
      const writer = await startCrowd(one, 'b5', 2_000);
      process.kill(one.host.enginePid, 'SIGSTOP');
      try {
        await one.host.disconnect();
        expect(await linesBesideSuccessor(cluster, two, writer.volume)).toEqual([]);
      } finally {
        process.kill(one.host.enginePid, 'SIGCONT');
        await one.host.reconnect();
      }
      await writer.waitUntil('exited', 30_000);
    });

    test('B6, B7: the same with its engine, and beside a container with thousands of processes and no right', async () => {
      const { one, two } = nodesOf(cluster, index);
      const first = [await startCrowd(one, 'b6', 2_000), await startCrowd(one, 'b7', 10)];
      const flags = ['-d', '--name', 'idle', '--stop-timeout', '0', '-u', '1000'];
      const script = `${sleepers(idle)}; echo ready; sleep 100000`;
      const shell = ['busybox', 'sh', '-c', script];
      await one.dockerOk('run', ...flags, '--cap-drop', 'ALL', ...shell);
      const isReady = async () => (await one.dockerOk('logs', 'idle')) === 'ready';
      await waitFor(isReady, 60_000, `${idle} processes`);
      // No scan knows this container yet, and the next one has all those processes to read.
      const writers = [...first, await startCrowd(one, 'late', 0)];
      await one.host.disconnect();
      try {
        const successors = writers.map(({ volume }) => linesBesideSuccessor(cluster, two, volume));
        expect(await Promise.all(successors)).toEqual(writers.map(() => []));
        for (const writer of writers) expect(await writer.state()).toBe('paused');
        const { leadMs } = await sentinelReport(one);
        process.stderr.write(`beside ${idle} sleepers the sentinel needs ${leadMs} ms\n`);
        for (const writer of writers) {
          const leftMs = (await deadlineOf(one, writer.volume)) - (await writer.lastWriteMs());
          process.stderr.write(`${writer.name} wrote last ${leftMs} ms before its deadline\n`);
        }
        expect(await one.dockerOk('inspect', '-f', '{{.State.Status}}', 'idle')).toBe('running');
      } finally {
        await one.host.reconnect();
        await one.docker('rm', '-f', 'idle');
      }
      for (const writer of writers) {
        await writer.waitUntil('exited', 30_000);
        const paused = (await eventsOf(one, writer.volume)).filter((text) => /^paused/.test(text));
        process.stderr.write(`${paused.join('\n')}\n`);
      }
    });
  });
});
