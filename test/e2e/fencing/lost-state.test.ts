// The sentinel is killed while containers stand still, and its state is lost with it. Two real hosts with
// etcd, one for each version of control groups; time is real, with a TTL of 8 s.

import { rm, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { isAlive } from '../../support/host-processes.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { Cluster, EngineNode } from '../hosts/cluster.ts';
import { startCluster } from '../hosts/cluster.ts';
import { startClockWriter } from './clock-writer.ts';
import { sentinelPid, sentinelReport } from './sentinel-process.ts';

const losses = {
  garbled: (path: string) => writeFile(path, 'garbage'),
  deleted: (path: string) => rm(path),
};

describeWith(['docker', 'etcd'], 'a sentinel whose predecessor left no state', () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await startCluster({
      engines: [
        { docker: '26.1', controlGroups: 1 },
        { docker: '20.10', controlGroups: 2 },
      ],
      berth: { ttl: '8s', lockTimeout: '40s' },
    });
  });
  afterAll(async () => cluster?.[Symbol.asyncDispose]());

  const nodeAt = (index: number): EngineNode => {
    const node = cluster.nodes[index];
    if (!node) throw new Error(`there is no node ${index}`);
    return node;
  };

  test.each([
    { loss: 'garbled', controlGroups: 1, index: 0 },
    { loss: 'deleted', controlGroups: 2, index: 1 },
  ] as const)(
    'resumes the containers that stand still once the volume is proved again (state $loss, control groups v$controlGroups)',
    async ({ loss, index }) => {
      const node = nodeAt(index);
      const volume = `v-${loss}`;
      await node.create(volume);
      const writer = await startClockWriter(node, { name: `w-${loss}`, volume });
      const before = await writer.incarnation();
      await node.host.disconnect();
      await waitFor(
        async () => (await sentinelReport(node)).volumes[volume] === 'fenced',
        15_000,
        `${volume} to be fenced`,
      );
      await writer.waitUntil('paused', 10_000);
      const pid = await sentinelPid(node);
      process.kill(pid, 'SIGSTOP'); // It must not write its state again.
      await losses[loss](node.host.pathOf('/run/berth/admin.sock.sentinel.state'));
      process.kill(pid, 'SIGKILL');
      await waitFor(
        async () => (await sentinelPid(node)) !== pid && !(await isAlive(pid)),
        20_000,
        'another sentinel',
      );
      const last = await writer.lastWriteMs();
      expect(await writer.state()).toBe('paused');
      await node.host.reconnect();
      await writer.waitUntilItWrites(20_000);
      expect(await writer.lastWriteMs()).toBeGreaterThan(last);
      expect(await writer.state()).toBe('running');
      expect(await writer.incarnation()).toBe(before);
      await node.docker('restart', `w-${loss}`);
      await writer.waitUntil('running', 10_000);
    },
  );
});
