// Real daemons on an etcd that is slow or far behind. The disk is throttled by a real control group
// (cgroup v1 only); no Docker engine. Real time.

import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { makeSlowDisk } from '../../support/slow-disk.ts';
import { mountedOn, startBareCluster } from '../hosts/bare-cluster.ts';

const mountId = 'a'.repeat(64);

/** Changes one key below the prefix more often than etcd keeps events for a slow watcher. */
const floodScript = `
const { EtcdClient } = await import('${join(import.meta.dirname, '../../../lib/etcd/client.ts')}');
const [endpoint, count, bytes] = process.argv.slice(1);
const client = new EtcdClient({ endpoints: [endpoint] });
const put = { key: Buffer.from('/berth/other'), value: Buffer.alloc(Number(bytes), 'x') };
for (let index = 0; index < Number(count); index += 1) {
  await client.txn({ compare: [], success: [{ request_put: put }], failure: [] });
}
await client.close();`;

describeWith(['root', 'etcd', 'throttle'], 'berth on an etcd with a slow disk', () => {
  test('a slow disk slows berth, which keeps its locks', async () => {
    await using disk = await makeSlowDisk(256);
    await using cluster = await startBareCluster({ dir: disk.path });
    const n1 = await cluster.join('n1', { lockTimeout: '4s' });
    const n2 = await cluster.join('n2', { ttl: '5s', lockTimeout: '8s' });
    await n1.create('used');
    await n1.ok('Mount', { Name: 'used', ID: mountId });
    const before = await n1.table();

    // With this limit a write to etcd takes some tenths of a second.
    await disk.limit(cluster.etcd.pids, 10);
    const startedAt = performance.now();
    await n2.create('slow');
    await n2.ok('Mount', { Name: 'slow', ID: mountId });
    await n2.ok('Snapshot', { Name: 'slow', Snapshot: 's' });
    expect(performance.now() - startedAt).toBeGreaterThan(500);
    expect((await n2.call('Mount', { Name: 'used', ID: mountId })).Err).toMatch(mountedOn('n1'));
    // Renewals succeed, so no session counts as lost.
    await delay(Math.max(0, startedAt + 8_000 - performance.now()));
    expect(n2.daemon.log()).not.toMatch(/is (unproven|lost)/);
    await n2.ok('Unmount', { Name: 'slow', ID: mountId });

    // Now a write takes longer than the limit of a call.
    await disk.limit([], 1);
    const names = ['aa', 'bb', 'cc'];
    const refusals = names.map(async (Name) => {
      const askedAt = performance.now();
      const { Err } = await n1.call('Create', { Name, Opts: null });
      expect(performance.now() - askedAt).toBeLessThan(50_000);
      return Err;
    });
    for (const Err of await Promise.all(refusals)) {
      expect(Err).toMatch(
        /^$|etcd does not answer: |it is unknown whether the store made the change/,
      );
    }

    await disk.limit([], undefined);
    for (const name of names) await n1.create(name);
    await waitFor(
      async () => (await cluster.store.locks()).join() === 'mount/used',
      10_000,
      'unfinished requests to be removed',
    );
    expect(await n1.table()).toEqual(before);
    expect(Object.keys(await cluster.store.records()).sort()).toEqual([...names, 'slow', 'used']);
    await n1.ok('Unmount', { Name: 'used', ID: mountId });
    await n2.ok('Mount', { Name: 'used', ID: mountId });
  });
});

describeWith(['root', 'etcd'], 'berth on a slow etcd', () => {
  test('when the store is full, slow or failing: a watch that falls behind a compaction misses nothing', async () => {
    await using cluster = await startBareCluster();
    const { etcd } = cluster;
    const [url = ''] = etcd.endpoints.map((endpoint) => new URL(endpoint).host);
    const n1 = await cluster.join('n1');
    const n2 = await cluster.join('n2');
    for (const name of ['db', 'gone', 'kept']) await n1.create(name);
    await n1.ok('Mount', { Name: 'db', ID: mountId });
    const waiting = n2.ok('Mount', { Name: 'db', ID: mountId });
    await waitFor(async () => (await cluster.store.locks()).length === 2, 5_000, 'n2 to wait');

    // A frozen daemon reads nothing from its connection, so etcd has to keep its events back.
    n2.daemon.process.kill('SIGSTOP');
    const flood = (count: number, bytes: number) =>
      n1.host.execOk('node', '--input-type=module', '-e', floodScript, url, `${count}`, `${bytes}`);
    await flood(20, 100_000);
    await flood(400, 10);
    await n1.ok('Unmount', { Name: 'db', ID: mountId });
    await n1.ok('Remove', { Name: 'gone' });
    await n1.create('fresh');
    await etcd.ctlOk('compact', String(await etcd.revision()));
    await n1.ok('Snapshot', { Name: 'kept', Snapshot: 's' });
    n2.daemon.process.kill('SIGCONT');

    await waiting;
    const names = async () => (await n2.ok('List')).Volumes.map(({ Name }) => Name).sort();
    await waitFor(
      async () => (await names()).join() === 'db,fresh,kept',
      10_000,
      'the present records',
    );
    await waitFor(
      async () => (await n2.daemon.berth('status')).code === 0,
      10_000,
      'the watch to work again',
    );
    expect(n2.daemon.log()).toMatch(/the watch has ended \(compacted at \d+\)/);
    // The watch delivers later changes, too.
    await n1.ok('Remove', { Name: 'fresh' });
    await waitFor(async () => (await names()).join() === 'db,kept', 3_000, 'the record to vanish');
    const next = n1.ok('Mount', { Name: 'db', ID: mountId });
    await waitFor(async () => (await cluster.store.locks()).length === 2, 5_000, 'n1 to wait');
    await n2.ok('Unmount', { Name: 'db', ID: mountId });
    await next;
  });
});
