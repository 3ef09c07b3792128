// A host that is cut off stops containers with thousands of processes before another host gets their
// volumes. Engines, etcd, processes and the TTL of 10 s are real.

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { Cluster, EngineNode } from '../hosts/cluster.ts';
import { startCluster } from '../hosts/cluster.ts';
import { startClockWriter } from './clock-writer.ts';
import { eventsOf } from './events.ts';
import { sentinelReport } from './sentinel-process.ts';
import { linesBesideSuccessor, logOf } from './successor.ts';

/** BERTH_SLEEPERS=25000 is the figure of the promise; so many would slow all tests that run beside. */
const idle = Number(process.env.BERTH_SLEEPERS ?? 5_000);
const sleepers = (count: number) =>
  `i=0; while [ $i -lt ${count} ]; do sleep 100000 & i=$((i+1)); done`;

describeWith(['docker', 'etcd'], 'a host that is cut off', () => {
  let cluster: Cluster;
  let one: EngineNode;
  let two: EngineNode;
  beforeAll(async () => {
    cluster = await startCluster({
      engines: ['26.1', '20.10'],
      berth: { ttl: '10s', lockTimeout: '50s' },
    });
    const [n1, n2] = cluster.nodes;
    if (!n1 || !n2) throw new Error('there are two nodes');
    [one, two] = [n1, n2];
  });
  afterAll(async () => cluster?.[Symbol.asyncDispose]());

  /** Starts a container that forks for each write, beside that many sleeping processes of its own. */
  async function startCrowd(volume: string, count: number) {
    await one.create(volume, { driver: 'directory' });
    const log = logOf(cluster, volume);
    const name = `crowd-${volume}`;
    return startClockWriter(one, { name, volume, everyMs: 2, first: sleepers(count), log });
  }

  test('B5: stops a container with 2,000 processes and one that always forks, without its engine', async () => {
    const writer = await startCrowd('b5', 2_000);
    process.kill(one.host.enginePid, 'SIGSTOP');
    try {
      await one.host.disconnect();
      expect(await linesBesideSuccessor(cluster, two, 'b5')).toEqual([]);
    } finally {
      process.kill(one.host.enginePid, 'SIGCONT');
      await one.host.reconnect();
    }
    await writer.waitUntil('exited', 30_000);
  });

  test('B6: stops a container with 2,000 processes and one that always forks, with its engine', async () => {
    const writer = await startCrowd('b6', 2_000);
    await one.host.disconnect();
    try {
      expect(await linesBesideSuccessor(cluster, two, 'b6')).toEqual([]);
      expect(await writer.state()).toBe('paused');
    } finally {
      await one.host.reconnect();
    }
    await writer.waitUntil('exited', 30_000);
  });

  test('B7: stops containers beside another one with thousands of processes and no right', async () => {
    const writer = await startCrowd('b7', 10);
    await one.create('b7-late', { driver: 'directory' });
    const flags = ['-d', '--name', 'idle', '--stop-timeout', '0', '-u', '1000'];
    const script = `${sleepers(idle)}; echo ready; sleep 100000`;
    const shell = ['busybox', 'sh', '-c', script];
    await one.dockerOk('run', ...flags, '--cap-drop', 'ALL', ...shell);
    const isReady = async () => (await one.dockerOk('logs', 'idle')) === 'ready';
    await waitFor(isReady, 60_000, `${idle} processes`);
    // No scan knows this container yet, and the next one has all those processes to read.
    const log = logOf(cluster, 'b7-late');
    const late = await startClockWriter(one, { name: 'late', volume: 'b7-late', everyMs: 2, log });
    await one.host.disconnect();
    try {
      const successors = ['b7', 'b7-late'].map((volume) =>
        linesBesideSuccessor(cluster, two, volume),
      );
      expect(await Promise.all(successors)).toEqual([[], []]);
      expect(await writer.state()).toBe('paused');
      expect(await late.state()).toBe('paused');
      const { leadMs } = await sentinelReport(one);
      process.stderr.write(`beside ${idle} sleepers the sentinel needs ${leadMs} ms\n`);
      expect(await one.dockerOk('inspect', '-f', '{{.State.Status}}', 'idle')).toBe('running');
    } finally {
      await one.host.reconnect();
      await one.docker('rm', '-f', 'idle');
    }
    await writer.waitUntil('exited', 30_000);
    await late.waitUntil('exited', 30_000);
    for (const volume of ['b7', 'b7-late']) {
      const paused = (await eventsOf(one, volume)).filter((event) => event.startsWith('paused'));
      process.stderr.write(`${paused.join('\n')}\n`);
    }
  });
});
