// Faults of earlier plugins when they or their store restart; test/promises/promises.test.ts lists
// all. Real daemons and etcd, no Docker engine; real time.

import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { beforePollMs } from '../../support/eventually.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { BareCluster, BareNode } from '../hosts/bare-cluster.ts';
import { startBareCluster } from '../hosts/bare-cluster.ts';
import { blockProgram } from '../hosts/block-program.ts';

const [ID, ANOTHER] = ['a'.repeat(64), 'b'.repeat(64)];

describeWith(['root', 'etcd'], 'a daemon that finds its volumes changed at its start', () => {
  let cluster: BareCluster;
  let node: BareNode;
  let other: BareNode;

  beforeAll(async () => {
    cluster = await startBareCluster();
    [node, other] = await Promise.all([
      cluster.join('n1', { lockTimeout: '1s' }),
      cluster.join('n2', { lockTimeout: '10s' }),
    ]);
  });
  afterAll(async () => cluster?.[Symbol.asyncDispose]());

  async function mounted(Name: string, options?: Readonly<Record<string, string>>): Promise<void> {
    await node.create(Name, options);
    await node.ok('Mount', { Name, ID });
  }
  const unmount = (Name: string, id = ID) => node.ok('Unmount', { Name, ID: id });
  async function expectNothing(): Promise<void> {
    expect(await node.table()).toEqual([]);
    expect(await cluster.store.locks()).toEqual([]);
  }

  test('defects B1, B3 and B6: the daemon serves and releases its volumes, whatever happened to them', async () => {
    for (const name of ['fine', 'lost-mount', 'lost-record', 'lost-storage']) await mounted(name);
    await mounted('of-many', { access: 'shared' });
    await node.create('half-made');
    const { began, release } = await blockProgram(node.host, 'mount', 'after');
    node.begin('Mount', { Name: 'half-made', ID });
    await began();
    await node.daemon.kill();
    await release('kill');
    await node.host.execOk('umount', node.mountpoint('lost-mount'));
    await cluster.etcd.ctlOk('del', '/berth/records/volumes/lost-record');
    const storage = join(cluster.volumeDir, 'directory/lost-storage');
    await rename(storage, `${storage}.away`);
    await node.host.shadow('umount', 'echo umount: not now >&2; exit 32');
    await node.daemon.start();

    const tried = () => node.daemon.log().includes('volume=half-made could not be settled');
    await waitFor(tried, 10_000, 'the half-made mount to be tried');
    for (const name of ['fine', 'of-many', 'lost-mount']) {
      await node.ok('Mount', { Name: name, ID });
      expect(await node.mountCount(name)).toBe(1);
    }
    await node.host.unshadow('umount');
    await node.waitUntilUnmounted('half-made');
    for (const { volume, mountIds } of await node.table()) {
      for (let left = mountIds[ID]?.count ?? 0; left > 0; left -= 1) await unmount(volume);
      expect(await node.mountCount(volume)).toBe(0);
    }
    await expectNothing();
    await rename(`${storage}.away`, storage);
  });

  test('defect B7: a mount missing in the mount table can be mounted again, and stays mounted meanwhile', async () => {
    await mounted('forgotten');
    const script = `cd ${node.mountpoint('forgotten')} && echo here && exec sleep 1000`;
    await using occupier = node.host.spawn('sh', ['-c', script]);
    await waitFor(() => occupier.output().includes('here'), 5_000, 'a process to enter the mount');
    await node.daemon.kill();
    await rm(join(node.host.directory, 'berth/mounts.json'));
    await node.daemon.start();
    await node.ok('Mount', { Name: 'forgotten', ID: ANOTHER });
    expect(await node.mountCount('forgotten')).toBe(1);
    await occupier.stop();
    await unmount('forgotten', ANOTHER);
    expect(await node.mountCount('forgotten')).toBe(0);
    await expectNothing();
  });

  test("defect B11: after many store errors the daemon still sees other hosts' changes at once", async () => {
    await other.create('first');
    await other.ok('Mount', { Name: 'first', ID });
    await other.ok('Unmount', { Name: 'first', ID });
    for (const round of [1, 2, 3]) {
      await cluster.etcd.kill();
      await cluster.etcd.restart();
      const name = `after-${round}`;
      await waitFor(
        async () => (await other.call('Create', { Name: name, Opts: null })).Err === '',
        15_000,
        'the store to answer again',
      );
      const isHeard = async () =>
        (await node.ok('List')).Volumes.some((volume) => volume.Name === name);
      await waitFor(isHeard, 15_000, `${name} to be listed`);
    }
    // Waiters for a lock are woken as before.
    await node.ok('Mount', { Name: 'first', ID });
    const waiting = other.ok('Mount', { Name: 'first', ID });
    await waitFor(
      async () => (await cluster.store.locks()).length === 2,
      5_000,
      'the Mount to wait',
    );
    const released = performance.now();
    await unmount('first');
    await waiting;
    expect(performance.now() - released).toBeLessThan(beforePollMs);
    await other.ok('Unmount', { Name: 'first', ID });
    await expectNothing();
  });
});
