// `berth lock clear --force` against a living host. Two hosts with Docker, one etcd, real
// containers. Time is real: a TTL of 5 s.

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { leases } from '../hosts/bare-cluster.ts';
import type { Cluster, EngineNode } from '../hosts/cluster.ts';
import { startCluster } from '../hosts/cluster.ts';

const ttlMs = 5_000;

describeWith(['docker', 'etcd'], 'clearing the lock of a living host', () => {
  let cluster: Cluster;
  const node = (index: number): EngineNode => {
    const found = cluster.nodes[index];
    if (!found) throw new Error(`there is no node ${index}`);
    return found;
  };
  beforeAll(async () => {
    cluster = await startCluster({ engines: ['26.1', '26.1'], berth: { ttl: '5s' } });
  });
  afterAll(async () => cluster?.[Symbol.asyncDispose]());

  const stateOf = (on: EngineNode, name: string) =>
    on.dockerOk('inspect', '-f', '{{.State.Status}} {{.State.ExitCode}}', name);
  async function tokenOf(volume: string): Promise<string> {
    const { tickets } = JSON.parse(
      await node(1).daemon.berthOk('lock', 'inspect', volume, '--json'),
    ) as { tickets: { token: number }[] };
    return String(tickets[0]?.token);
  }

  test('defect A11, when an operator clears a lock: its host kills the containers and unmounts before it releases', async () => {
    const [one, two] = [node(0), node(1)];
    await one.create('db');
    expect((await one.up('c-db', 'db')).code).toBe(0);
    const token = await tokenOf('db');
    const refused = await two.daemon.berth('lock', 'clear', 'db', '--token', token);
    expect(refused.code).toBe(4);
    expect(refused.stderr).toMatch(/--force/);
    expect(await stateOf(one, 'c-db')).toBe('running 0');

    const sessions = await leases(cluster.etcd);
    const cleared = await two.daemon.berthOk('lock', 'clear', 'db', '--token', token, '--force');
    expect(cleared).toMatch(/cleared the lock of .*n1/);
    // The holder released the lock: its session has not expired.
    expect(await leases(cluster.etcd)).toEqual(expect.arrayContaining(sessions));
    expect(await stateOf(one, 'c-db')).toBe('exited 137');
    expect(await one.mountCount('db')).toBe(0);
    expect(await one.table()).toEqual([]);
    expect(await cluster.store.locks()).toEqual([]);
    expect(Object.keys(await cluster.store.records())).toEqual(['db']);
    expect(await one.daemon.berthOk('events', '--volume', 'db')).toMatch(
      /an operator on host n2 cleared its lock.*killed container c-db.*it is unmounted/s,
    );
    expect((await two.up('c2-db', 'db')).code).toBe(0);
    await two.down('c2-db');
    await one.down('c-db');
  });

  test('when an operator clears a lock: the command waits one TTL for a frozen holder, whose sentinel fences it', async () => {
    const [one, two] = [node(0), node(1)];
    await one.create('web');
    expect((await one.up('c-web', 'web')).code).toBe(0);
    const token = await tokenOf('web');
    one.daemon.process.kill('SIGSTOP');
    const start = performance.now();
    await two.daemon.berthOk('lock', 'clear', 'web', '--token', token, '--force');
    expect(performance.now() - start).toBeLessThan(3 * ttlMs);
    const isPaused = async () => (await stateOf(one, 'c-web')) === 'paused 0';
    await waitFor(isPaused, 5_000, 'its container to be paused');
    expect((await two.up('c2-web', 'web')).code).toBe(0);
    one.daemon.process.kill('SIGCONT');
    const isKilled = async () => (await stateOf(one, 'c-web')) === 'exited 137';
    await waitFor(isKilled, 10_000, 'the paused container to be killed');
    await waitFor(async () => (await one.mountCount('web')) === 0, 5_000, 'the unmount');
    expect(await stateOf(two, 'c2-web')).toBe('running 0');
    await two.down('c2-web');
    await one.down('c-web');
    expect(await cluster.store.locks()).toEqual([]);
  });
});
