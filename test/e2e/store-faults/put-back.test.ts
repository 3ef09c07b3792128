// Daemons, without containers, whose etcd is restored from a snapshot: their own earlier tickets, and
// a restart meanwhile. etcd, snapshots and daemons are real; the test makes the engine's calls.

import { expect, test } from '@jest/globals';
import { snapshotOf } from '../../support/etcd-backup.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { startBareCluster } from '../hosts/bare-cluster.ts';
import type { Node } from '../hosts/node.ts';

const mountId = 'a'.repeat(64);
const berth = { ttl: '60s', lockTimeout: '2s' };

describeWith(['root', 'etcd'], 'daemons whose etcd is restored', () => {
  test('a host puts its locks back although tickets of its earlier session stand again', async () => {
    await using cluster = await startBareCluster();
    const { etcd } = cluster;
    const one = await cluster.join('n1', berth);
    await one.create('db');
    await one.ok('Mount', { Name: 'db', ID: mountId });
    await using backup = await snapshotOf(etcd);
    const [, lease = ''] = (await etcd.ctlOk('lease', 'list')).split('\n');
    await etcd.ctlOk('lease', 'revoke', lease);
    await waitFor(async () => (await relocks(one)).length === 1, 10_000, 'a new session');

    await backup.restore();
    await waitFor(async () => (await relocks(one)).length === 2, 10_000, 'the lock to be put back');
    expect((await relocks(one))[1]).toMatch(/missing after the store was put back/);
    await waitFor(
      async () => (await cluster.store.locks()).join() === 'mount/db',
      10_000,
      'no other ticket to be left',
    );
    expect(await etcd.ctlOk('get', '--prefix', '/berth/records/claims/', '--keys-only')).toMatch(
      /claims\/db\//,
    );
    await etcd.ctlOk('del', '/berth/history/quarantine');
    await one.ok('Unmount', { Name: 'db', ID: mountId });
    expect(await cluster.store.locks()).toEqual([]);
    expect(await etcd.ctlOk('get', '--prefix', '/berth/records/claims/', '--keys-only')).toBe('');
  });

  test('a daemon that was away during the restore does not trust its mounts', async () => {
    await using cluster = await startBareCluster();
    const { etcd } = cluster;
    const one = await cluster.join('n1', berth);
    await one.create('db');
    await one.ok('Mount', { Name: 'db', ID: mountId });
    await using backup = await snapshotOf(etcd);
    await one.create('later');
    await one.daemon.kill();
    await backup.restore({ sameToken: true, bumpBy: 1_000 });
    await one.daemon.start();
    await waitFor(
      async () => (await one.events()).some(({ kind }) => kind === 'history'),
      10_000,
      'the change to be noticed',
    );
    await etcd.ctlOk('del', '/berth/history/quarantine');
    await one.waitUntilUnmounted('db', 30_000);
    await one.ok('Mount', { Name: 'db', ID: mountId });
    await one.ok('Unmount', { Name: 'db', ID: mountId });
  });
});

/** Returns the messages of the host's events `relocked`, oldest first. */
async function relocks(node: Node): Promise<string[]> {
  const events = await node.events();
  return events.filter(({ kind }) => kind === 'relocked').map(({ message }) => message);
}
