// A fenced container that its own engine unpauses, stops or enters: real hosts and engines, real
// time.
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { waitFor } from '../support/processes.ts';
import { describeWith } from '../support/requirements.ts';
import { writerViolations } from './writers-check.ts';
import { startWritersCluster } from './writers-cluster.ts';

describeWith(['docker', 'etcd'], 'a container whose host was cut off', () => {
  test('writes nothing when somebody unpauses, stops or enters it', async () => {
    await using cluster = await startWritersCluster({
      engines: ['26.1', '20.10'],
      etcd: '3.5',
      ttlMs: 5_000,
      volumes: { shared: [] },
    });
    const [one, two] = cluster.writers;
    if (!one || !two) throw new Error('the cluster has two hosts');
    one.begin();
    await waitFor(async () => (await one.lastAcknowledgedMs()) > 0, 20_000, 'n1 to write');
    await one.node.host.disconnect();
    two.begin();
    await waitFor(async () => (await two.lastAcknowledgedMs()) > 0, 30_000, 'n2 to write');
    for (let time = 0; time < 3; time += 1) {
      await one.node.docker('unpause', 'writer-shared');
      await pause(400);
    }
    expect((await one.node.docker('stop', '-t', '2', 'writer-shared')).code).toBe(0);
    await pause(400);
    await one.node.host.reconnect();
    await pause(1_000);
    await Promise.all([one.end(), two.end()]);
    const file = (await two.node.shell('shared', 'cat /data/records')).split('\n');
    const acknowledged = [...(await one.acknowledged()), ...(await two.acknowledged())];
    expect(writerViolations({ volume: 'shared', file, acknowledged })).toEqual([]);
  });
});
