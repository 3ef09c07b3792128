// A daemon that has lost its mount table while another host got its volume: the sentinel must not
// forget what it guards. Two real hosts with etcd, for each
// version of control groups; time is real, with a TTL of 8 s.

import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { Cluster, EngineNode } from '../hosts/cluster.ts';
import { startCluster } from '../hosts/cluster.ts';
import type { ClockWriter } from './clock-writer.ts';
import { startClockWriter } from './clock-writer.ts';
import { sentinelReport } from './sentinel-process.ts';

const groups = [1, 2] as const;

describeWith(['docker', 'etcd'], 'a daemon that has lost its mount table', () => {
  describe.each(groups)('on control groups v%i', (controlGroups) => {
    let cluster: Cluster;
    let one: EngineNode;
    let two: EngineNode;
    let first: ClockWriter;
    let second: ClockWriter;
    beforeAll(async () => {
      cluster = await startCluster({
        engines: [{ docker: '26.1', controlGroups }, '26.1'],
        berth: { ttl: '8s', lockTimeout: '40s' },
      });
      const [n1, n2] = cluster.nodes;
      if (!n1 || !n2) throw new Error('there are two nodes');
      [one, two] = [n1, n2];
      await one.create('v1');
      await one.create('other');
      const log = join(cluster.volumeDir, 'directory/v1/data/log');
      first = await startClockWriter(one, { name: 'w1', volume: 'v1', log });
      await one.daemon.kill();
      second = await startClockWriter(two, { name: 'w2', volume: 'v1', log });
      const stateDir = join(one.host.directory, 'berth');
      for (const file of await readdir(stateDir)) {
        if (file.startsWith('mounts.json')) await rm(join(stateDir, file));
      }
      await one.daemon.start();
    });
    afterAll(async () => cluster?.[Symbol.asyncDispose]());

    test('does not make the sentinel resume the containers, whatever is mounted and unmounted next', async () => {
      expect(await one.shell('other', 'echo new > /data/file; cat /data/file')).toBe('new');
      await one.waitUntilUnmounted('other');
      const isForgotten = async () => !('other' in (await sentinelReport(one)).volumes);
      await waitFor(isForgotten, 10_000, 'the sentinel to release what has ended');
      await second.waitUntilItWrites();
      // No line of the first host is later than the first line of the second.
      const [grantedMs = Number.NaN] = await second.times();
      expect(await first.lastWriteMs()).toBeLessThan(grantedMs);
      expect(await first.state()).not.toBe('running');
    });

    test('says so while the volume is still mounted here', async () => {
      const says = /the sentinel guards volume v1, which this daemon does not know .*\/v1:/;
      const isMounted = async () => (await one.mountCount('v1')) > 0;
      // Its exit code is that of an error: the volume is mounted here without a lock.
      const status = async () => (await one.daemon.berth('status')).stdout;
      const isSaid = async () => says.test(await status());
      await waitFor(async () => (await isSaid()) || !(await isMounted()), 20_000, 'the condition');
    });
  });
});
