// A Docker host whose etcd is killed and comes back, once for longer than the TTL of 5 s. The
// engine, etcd and the time are real.

import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { Cluster, EngineNode } from '../hosts/cluster.ts';
import { startCluster } from '../hosts/cluster.ts';

const mountId = 'a'.repeat(64);

describeWith(['docker', 'etcd'], 'a Docker host whose etcd does not answer', () => {
  let cluster: Cluster;
  let node: EngineNode;
  const locks = () => cluster.store.locks();

  beforeAll(async () => {
    cluster = await startCluster({ engines: ['26.1'], berth: { ttl: '5s', lockTimeout: '2s' } });
    [node] = cluster.nodes as [EngineNode];
    for (const name of ['used', 'stopped', 'idle']) {
      // on-lost=keep: this container goes on through the outage; the others are fenced (see
      // ../fencing).
      const option = name === 'used' ? 'on-lost=keep' : 'access=host';
      await node.dockerOk(
        ...['volume', 'create', '-d', 'berth', '--label', 'of=me', '-o', option, name],
      );
    }
    for (const name of ['used', 'stopped']) expect((await node.up(name, name)).code).toBe(0);
  });
  afterAll(async () => {
    await cluster[Symbol.asyncDispose]();
  });

  const write = (text: string) =>
    node.dockerOk('exec', 'used', 'sh', '-c', `echo ${text} >> /data/file; cat /data/file`);
  const inspected = async (name: string) => {
    const [volume] = JSON.parse(await node.dockerOk('volume', 'inspect', name));
    return { labels: volume.Labels, options: volume.Options, holder: volume.Status.holder?.host };
  };
  /** Runs an attempt that must fail within a few seconds; returns its error text. */
  async function refusal(attempt: () => Promise<string>): Promise<string> {
    const started = performance.now();
    const text = await attempt();
    // The lock timeout, plus some time for the engine.
    expect(performance.now() - started).toBeLessThan(30_000);
    return text;
  }
  const away = /NOT REACHABLE[\s\S]*\nerror: etcd at \S+ does not answer/;
  const why = /etcd does not answer: .+|the store \(etcd\) has not answered for longer than/;

  test('scenario 31: the host serves its records and mounts, refuses changes, and recovers by itself', async () => {
    const before = await cluster.store.locks();
    expect(before).toEqual(['mount/stopped', 'mount/used']);
    const tokens = (await node.table()).map(({ ticket }) => ticket.token);
    await cluster.etcd.kill();

    for (const moment of ['at once', 'after the TTL']) {
      const names = await node.dockerOk('volume', 'ls', '-q');
      expect(names.split('\n').sort()).toEqual(['idle', 'stopped', 'used']);
      expect(await inspected('idle')).toEqual({
        labels: { of: 'me' },
        options: { access: 'host' },
        holder: undefined,
      });
      expect(await inspected('used')).toMatchObject({ labels: { of: 'me' }, holder: 'n1' });
      expect(await write('word')).toContain('word');

      const status = await node.daemon.berth('status');
      expect(status).toMatchObject({ code: 5, stdout: expect.stringMatching(away) });

      const remove = () => node.docker('volume', 'rm', 'idle');
      expect(await refusal(async () => (await remove()).stderr)).toMatch(why);
      expect(await refusal(async () => (await node.up('new', 'idle')).stderr)).toMatch(why);
      await node.down('new');
      const create = () => node.call('Create', { Name: 'fresh', Opts: null });
      expect(await refusal(async () => (await create()).Err)).toMatch(why);
      expect((await node.docker('volume', 'rm', 'used')).stderr).toContain('volume is in use');
      if (moment === 'at once') await delay(3_000);
    }
    const another = await node.call('Mount', { Name: 'used', ID: mountId });
    expect(another.Err).toContain("the store can't be reached to prove that it still belongs");

    await node.dockerOk('stop', 'stopped');
    await node.waitUntilUnmounted('stopped');
    expect(await node.mountCount('used')).toBe(1);

    await cluster.etcd.restart();
    const isUp = async () => (await locks()).join() === 'mount/used';
    await waitFor(isUp, 15_000, 'the lock of the stopped volume to be released');
    expect(tokens).toContain((await node.table())[0]?.ticket.token);
    const isHeld = async () => (await node.call('Mount', { Name: 'used', ID: mountId })).Err === '';
    await waitFor(isHeld, 10_000, 'the lock of the used volume to be held again');
    await node.ok('Unmount', { Name: 'used', ID: mountId });
    expect(await write('again')).toContain('again');
    expect(await inspected('used')).toMatchObject({ labels: { of: 'me' }, holder: 'n1' });
    await node.dockerOk('volume', 'rm', 'idle');
    await node.dockerOk('volume', 'create', '-d', 'berth', 'fresh');
    await node.dockerOk('stop', 'used');
    await node.waitUntilUnmounted('used');
    expect(await locks()).toEqual([]);
    expect(await node.table()).toEqual([]);
  });
});
