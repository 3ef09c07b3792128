// A real daemon on an etcd whose quota is exhausted (NOSPACE). Mounts are real; no Docker engine.

import { expect, test } from '@jest/globals';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { BareCluster } from '../hosts/bare-cluster.ts';
import { startBareCluster } from '../hosts/bare-cluster.ts';
import type { NodeAnswer } from '../hosts/node.ts';

const mountId = 'a'.repeat(64);

/** The error that people read: what is wrong and what to do. */
const full =
  /etcd is out of space \(NOSPACE alarm\): compact and defragment it, then run "etcdctl alarm disarm"/;

/** Fills etcd with other keys until it accepts no more. */
async function fill({ etcd }: BareCluster): Promise<void> {
  const put = (index: number) => etcd.ctl('put', `/other/${index}`, 'x'.repeat(120_000));
  for (let index = 0; (await put(index)).code === 0; index += 1);
}

/** Frees space as the operator of etcd does. */
async function makeSpace({ etcd }: BareCluster): Promise<void> {
  await etcd.ctlOk('del', '--prefix', '/other/');
  await etcd.ctlOk('compact', String(await etcd.revision()));
  await etcd.ctlOk('defrag');
  await etcd.ctlOk('alarm', 'disarm');
}

describeWith(['root', 'etcd'], 'berth on an etcd without space', () => {
  test('when the store is full, slow or failing: it refuses operations that need space, and still unmounts and removes', async () => {
    const flags = ['--quota-backend-bytes', '4000000'];
    await using cluster = await startBareCluster({ flags });
    const node = await cluster.join('n1');
    const names = ['used', 'idle', 'old', ...Array.from({ length: 8 }, (_, i) => `old-${i}`)];
    for (const name of names) await node.create(name);
    await node.ok('Mount', { Name: 'used', ID: mountId });
    const storage = () => node.host.execOk('ls', `${cluster.volumeDir}/directory`);
    const before = {
      records: Object.keys(await cluster.store.records()),
      storage: await storage(),
    };
    await fill(cluster);

    async function refused(work: Promise<NodeAnswer>): Promise<void> {
      const startedAt = performance.now();
      expect((await work).Err).toMatch(full);
      expect(performance.now() - startedAt).toBeLessThan(25_000);
    }
    await refused(node.call('Create', { Name: 'fresh', Opts: null }));
    await refused(node.call('Mount', { Name: 'idle', ID: mountId }));
    await refused(node.call('Snapshot', { Name: 'used', Snapshot: 's' }));
    await refused(node.call('Copy', { Name: 'used', Target: 'copy' }));
    // They reach etcd in one transaction, whose nested puts etcd does not count.
    const many = Array.from({ length: 8 }, (_, index) => index);
    const create = (index: number) => node.call('Create', { Name: `many-${index}`, Opts: null });
    await Promise.all(many.map((index) => refused(create(index))));
    expect(await cluster.store.locks()).toEqual(['mount/used']);
    expect(Object.keys(await cluster.store.records())).toEqual(before.records);
    expect(await storage()).toEqual(before.storage);
    expect(await node.mountCount('idle')).toBe(0);
    const status = await node.daemon.berth('status');
    expect(status.stdout).toMatch(/error: the database of etcd member m0 is full .*alarm disarm"/);
    expect(status.stdout).not.toMatch(/does not answer/);

    await node.ok('Unmount', { Name: 'used', ID: mountId });
    await node.ok('Remove', { Name: 'old' });
    await Promise.all(many.map((index) => node.ok('Remove', { Name: `old-${index}` })));
    expect(await cluster.store.locks()).toEqual([]);
    expect(Object.keys(await cluster.store.records())).toEqual(['idle', 'used']);
    expect((await storage()).trim().split('\n')).toEqual(['idle', 'used']);

    await makeSpace(cluster);
    await node.create('fresh');
    await node.ok('Mount', { Name: 'idle', ID: mountId });
    await node.ok('Snapshot', { Name: 'used', Snapshot: 's' });
    await node.ok('Copy', { Name: 'used', Target: 'copy' });
    await waitFor(
      async () => !(await node.daemon.berthOk('status')).includes('full'),
      5_000,
      'the condition to end',
    );
  });
});
