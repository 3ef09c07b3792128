// How long another host waits for the volume of a host that lost power. Real engines and etcd, a
// TTL of 5 s.

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { bootNowMs } from '../../../lib/linux/boot.ts';
import { describeWith } from '../../support/requirements.ts';
import type { Cluster } from '../hosts/cluster.ts';
import { startCluster } from '../hosts/cluster.ts';
import { startClockWriter } from './clock-writer.ts';

const ttlMs = 5_000;

describeWith(['docker', 'etcd'], 'a host that dies', () => {
  let cluster: Cluster;
  beforeAll(async () => {
    const berth = { ttl: `${ttlMs}ms`, lockTimeout: '20s' };
    cluster = await startCluster({ engines: ['26.1', '20.10'], berth });
  });
  afterAll(async () => cluster?.[Symbol.asyncDispose]());

  test('when a host dies: a waiting container on another host starts after one TTL, not after two', async () => {
    const [one, two] = cluster.nodes;
    if (!one || !two) throw new Error('there are two nodes');
    await one.create('moves');
    await startClockWriter(one, { name: 'first', volume: 'moves' });
    await two.create('free');
    const beforeMs = bootNowMs();
    await startClockWriter(two, { name: 'alone', volume: 'free' });
    const mountMs = bootNowMs() - beforeMs;

    const diedMs = bootNowMs();
    await one.host.cutPower();
    const second = await startClockWriter(two, { name: 'second', volume: 'moves' });
    const [firstWriteMs = Number.NaN] = await second.times();
    const tookMs = firstWriteMs - diedMs;
    process.stderr.write(`failover: ${tookMs} ms, of which a start takes ${mountMs} ms\n`);
    expect(tookMs).toBeGreaterThan(ttlMs / 4);
    expect(tookMs).toBeLessThan(3 * ttlMs + 3 * mountMs);
  });
});
