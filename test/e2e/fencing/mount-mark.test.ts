// A lock expires while its host is cut off. With its mount mark intact the host re-acquires the
// lock; after another request or a clear it must not. Real engines and etcd, a TTL of 5 s.

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { Cluster, EngineNode } from '../hosts/cluster.ts';
import { startCluster } from '../hosts/cluster.ts';
import type { ClockWriter } from './clock-writer.ts';
import { startClockWriter } from './clock-writer.ts';
import { eventKindsOf } from './events.ts';

const berth = { ttl: '5s', lockTimeout: '3s' };

describeWith(['docker', 'etcd'], 'a lock that expired while its host was cut off', () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await startCluster({ engines: ['26.1', '26.1'], berth });
  });
  afterAll(async () => cluster?.[Symbol.asyncDispose]());

  test('scenario 44: is re-acquired if no other host requested the volume meanwhile, and only then', async () => {
    const [one, two] = cluster.nodes as readonly [EngineNode, EngineNode];
    const writers: Record<string, ClockWriter> = {};
    for (const kind of ['quiet', 'asked', 'cleared']) {
      await one.create(kind);
      writers[kind] = await startClockWriter(one, { name: `w-${kind}`, volume: kind });
    }
    const { quiet, asked, cleared } = writers as Record<'quiet' | 'asked' | 'cleared', ClockWriter>;
    const before = await quiet.incarnation();
    const { tickets } = JSON.parse(
      await two.daemon.berthOk('lock', 'inspect', 'cleared', '--json'),
    ) as { tickets: { token: number }[] };

    await one.host.disconnect();
    // While the host still counts as alive: it is asked to give the volume up, and its TTL ends before it could.
    const token = String(tickets[0]?.token);
    await two.daemon.berthOk('lock', 'clear', 'cleared', '--token', token, '--force');
    await quiet.waitUntil('paused', 10_000);
    const isFree = async () => (await cluster.store.locks()).length === 0;
    await waitFor(isFree, 15_000, 'the lease to expire');
    expect((await two.up('c-asked', 'asked')).code).toBe(0);
    await two.down('c-asked');
    expect(await quiet.state()).toBe('paused');
    await one.host.reconnect();

    await quiet.waitUntil('running', 15_000);
    await quiet.waitUntilItWrites();
    expect(await quiet.incarnation()).toBe(before);
    await asked.waitUntil('exited', 10_000);
    await cleared.waitUntil('exited', 10_000);
    for (const { volume } of [asked, cleared]) await one.waitUntilUnmounted(volume);
    expect(await cluster.store.locks()).toEqual(['mount/quiet']);
    // The sentinel and the daemon record the end of it, each its own part.
    const [first, ...others] = await eventKindsOf(one, 'quiet');
    expect([first, ...others.sort()]).toEqual(['paused', 'relocked', 'resumed']);
    for (const { volume } of [asked, cleared]) {
      expect(await eventKindsOf(one, volume)).toEqual(['paused', 'lost', 'killed', 'fenced']);
    }
    // The re-acquired lock excludes others as before.
    expect((await two.up('c-quiet', 'quiet')).stderr).toMatch(
      /quiet is in use: mounted on host n1/,
    );
    await two.dockerOk('rm', '-f', 'c-quiet');
    for (const { name } of [quiet, asked, cleared]) await one.down(name);
    expect(await cluster.store.locks()).toEqual([]);
  });
});
