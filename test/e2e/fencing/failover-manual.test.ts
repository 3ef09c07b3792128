// Volumes with failover=manual when their host is cut off or dies. Real engines and etcd, real
// time: a TTL of 5 s.

import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startHost } from '../../support/host.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { Cluster, EngineNode } from '../hosts/cluster.ts';
import { startCluster, startEngineNode } from '../hosts/cluster.ts';

const ttlMs = 5_000;
const berth = { ttl: '5s', lockTimeout: '2s' };

describeWith(['docker', 'etcd'], 'a volume with failover=manual', () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await startCluster({ engines: ['26.1', '26.1'], berth });
  });
  afterAll(async () => cluster?.[Symbol.asyncDispose]());

  const stateOf = (on: EngineNode, name: string) =>
    on.dockerOk('inspect', '-f', '{{.State.Status}} {{.State.ExitCode}}', name);
  const isIn = (on: EngineNode, name: string, state: string) => async () =>
    (await stateOf(on, name)) === state;
  function pair(): [EngineNode, EngineNode] {
    const [one, two] = cluster.nodes;
    if (!one || !two) throw new Error('the cluster has not started');
    return [one, two];
  }

  test('a host that was cut off for longer than its TTL resumes its container: no other host could get the lock', async () => {
    const [one, two] = pair();
    await one.create('held', { failover: 'manual' });
    expect((await one.up('c-held', 'held')).code).toBe(0);
    await one.host.disconnect();
    await waitFor(isIn(one, 'c-held', 'paused 0'), 2 * ttlMs, 'the container to be paused');
    await sleep(ttlMs);
    const refused = await two.up('c2-held', 'held');
    expect(refused.stderr).toMatch(/volume held is in use: mounted on host n1 since/);
    expect(refused.stderr).toMatch(/cleared/);
    await one.host.reconnect();
    await waitFor(isIn(one, 'c-held', 'running 0'), 20_000, 'the container to be resumed');
    expect(await one.mountCount('held')).toBe(1);
    await two.dockerOk('rm', '-f', 'c2-held');
    await one.down('c-held');
    await waitFor(
      async () => (await cluster.store.locks()).length === 0,
      5_000,
      'all locks to be released',
    );
  });

  test('when a host dies: its lock stands until an operator clears it', async () => {
    const [, two] = pair();
    const host = await startHost({ docker: '26.1', network: cluster.network, name: 'n3' });
    await using three = await startEngineNode(host, {
      store: cluster.etcd.url,
      volumeDir: cluster.volumeDir,
      ...berth,
    });
    await three.create('dead', { failover: 'manual' });
    expect((await three.up('c-dead', 'dead')).code).toBe(0);
    await host.cutPower();
    await sleep(2 * ttlMs);
    const refused = await two.up('c-dead', 'dead');
    expect(refused.stderr).toMatch(/volume dead is in use: mounted on host n3 since/);
    await two.dockerOk('rm', '-f', 'c-dead');
    const { tickets } = JSON.parse(
      await two.daemon.berthOk('lock', 'inspect', 'dead', '--json'),
    ) as { tickets: { token: number }[] };
    const [ticket] = tickets;
    await two.daemon.berthOk('lock', 'clear', 'dead', '--token', String(ticket?.token));
    expect((await two.up('c-dead', 'dead')).code).toBe(0);
    await two.down('c-dead');
    await host.stop();
  });
});
