// Daemons cut off from etcd, a revoked lease, a dead leader. etcd and the network are real; no
// Docker engine: the test makes its calls. Time is real, with a TTL of 5 s.

import { expect, test } from '@jest/globals';
import type { Etcd } from '../../support/etcd-server.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { mountedOn, startBareCluster } from '../hosts/bare-cluster.ts';

const mountId = 'a'.repeat(64);
const berth = { ttl: '5s', lockTimeout: '2s' };

describeWith(['root', 'etcd'], 'daemons that lose etcd', () => {
  test('when a dead host comes back: it re-acquires its own lock and the locks that no host requested', async () => {
    await using cluster = await startBareCluster();
    const [one, two] = await Promise.all([cluster.join('n1', berth), cluster.join('n2', berth)]);
    for (const Name of ['mine', 'taken']) {
      await one.create(Name);
      await one.ok('Mount', { Name, ID: mountId });
    }
    await one.host.disconnect();
    await waitFor(
      async () => (await cluster.store.locks()).length === 0,
      15_000,
      'the lease to expire',
    );
    await two.ok('Mount', { Name: 'taken', ID: mountId });
    // A second daemon takes the name n1.
    const impostor = await cluster.join('n1', berth);
    await one.host.reconnect();

    const relocked = async () => (await cluster.store.locks()).join() === 'mount/mine,mount/taken';
    await waitFor(relocked, 15_000, 'the volume that nobody requested to be locked again');
    expect((await two.call('Mount', { Name: 'mine', ID: mountId })).Err).toMatch(
      /mounted on host n1 since/,
    );
    const log = () => one.daemon.log();
    await waitFor(
      () => /ERROR volume=taken is mounted here but its lock is not ours: .* host n2/.test(log()),
      5_000,
      'the loss to be logged',
    );
    await one.waitUntilUnmounted('taken');
    expect((await one.call('Mount', { Name: 'taken', ID: 'b'.repeat(64) })).Err).toMatch(
      /volume taken is in use: mounted on host n2 since/,
    );
    await waitFor(
      () => /ERROR another berth runs with this host's identity/.test(log()),
      5_000,
      'the other daemon to be noticed',
    );
    await impostor.daemon.stop();
    await waitFor(
      () => /WARNING the host's own lock was lost and has been acquired again/.test(log()),
      10_000,
      "the host's own lock to be re-acquired",
    );
    for (const Name of ['mine', 'taken']) await one.ok('Unmount', { Name, ID: mountId });
    expect(await cluster.store.locks()).toEqual(['mount/taken']);
    await two.ok('Unmount', { Name: 'taken', ID: mountId });
    expect(await cluster.store.locks()).toEqual([]);
  });

  test('a daemon whose lease an operator revokes acquires its locks again', async () => {
    await using cluster = await startBareCluster();
    const one = await cluster.join('n1');
    await one.create('kept');
    await one.ok('Mount', { Name: 'kept', ID: mountId });
    const all = () => cluster.etcd.ctlOk('get', '--prefix', '/berth/locks/', '--keys-only');
    const keys = async () => (await all()).split('\n').filter(Boolean).length;
    expect(await keys()).toBe(2);
    const [, lease = ''] = (await cluster.etcd.ctlOk('lease', 'list')).split('\n');
    await cluster.etcd.ctlOk('lease', 'revoke', lease);
    await waitFor(async () => (await keys()) === 2, 15_000, 'both locks to be re-acquired');
    expect(await one.mountCount('kept')).toBe(1);
    await one.ok('Unmount', { Name: 'kept', ID: mountId });
    expect(await keys()).toBe(1);
  });

  test('operations go on after the leader, one of three members, is killed', async () => {
    await using cluster = await startBareCluster({ members: 3 });
    const [one, two] = await Promise.all(
      ['n1', 'n2'].map((name) => cluster.join(name, { lockTimeout: '10s' })),
    );
    await one?.create('v1');
    await one?.ok('Mount', { Name: 'v1', ID: mountId });
    await cluster.etcd.kill(await leaderOf(cluster.etcd));
    const started = performance.now();
    await two?.create('w1');
    process.stderr.write(
      `Create after the leader's death: ${(performance.now() - started).toFixed()} ms\n`,
    );
    expect((await two?.call('Mount', { Name: 'v1', ID: mountId }))?.Err).toMatch(mountedOn('n1'));
    await one?.ok('Unmount', { Name: 'v1', ID: mountId });
    await two?.ok('Mount', { Name: 'v1', ID: mountId });
    await two?.ok('Unmount', { Name: 'v1', ID: mountId });
  });
});

async function leaderOf(etcd: Etcd): Promise<number> {
  const answers = await etcd.ctlOk('endpoint', 'status', '--write-out', 'json');
  const members: { Status: { header: { member_id: number }; leader: number } }[] =
    JSON.parse(answers);
  return members.findIndex(({ Status }) => Status.header.member_id === Status.leader);
}
