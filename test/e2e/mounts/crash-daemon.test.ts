// A daemon is stopped or killed, before and during calls, and starts again. etcd, mounts and time
// are real (a TTL of 15 s); no Docker engine: the test makes its calls.

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { BareCluster, BareNode } from '../hosts/bare-cluster.ts';
import { leases, mountedOn, startBareCluster } from '../hosts/bare-cluster.ts';
import { blockProgram } from '../hosts/block-program.ts';

const mountId = 'd'.repeat(64);
const ttl = '15s'; // A busy machine needs some seconds to start a daemon.

describeWith(['root', 'etcd'], 'a daemon that ends and starts again', () => {
  let cluster: BareCluster;
  let node: BareNode;
  let other: BareNode;

  beforeAll(async () => {
    cluster = await startBareCluster();
    [node, other] = await Promise.all([
      cluster.join('n1', { ttl, lockTimeout: '300ms' }),
      cluster.join('n2', { ttl, lockTimeout: '300ms' }),
    ]);
  });
  afterAll(async () => {
    await cluster[Symbol.asyncDispose]();
  });

  const locks = () => cluster.store.locks();
  const mount = (by: BareNode, Name: string) => by.call('Mount', { Name, ID: mountId });
  const unmount = (Name: string) => node.ok('Unmount', { Name, ID: mountId });

  test('defect A3, when the plugin restarts: SIGTERM keeps mounts and their locks, and the next start adopts them', async () => {
    await node.create('kept');
    await node.ok('Mount', { Name: 'kept', ID: mountId });
    const [row] = await node.table();
    expect(await node.daemon.stop()).toBe(0);
    expect(await locks()).toEqual(['mount/kept']);
    expect(await node.mountCount('kept')).toBe(1);
    expect((await mount(other, 'kept')).Err).toMatch(mountedOn('n1'));
    await node.daemon.start();
    expect((await node.table()).map(({ ticket }) => ticket.token)).toEqual([row?.ticket.token]);
    expect(await mount(node, 'kept')).toMatchObject({
      Err: '',
      Mountpoint: node.mountpoint('kept'),
    });
    expect(await node.mountCount('kept')).toBe(1);
    await unmount('kept');
    await unmount('kept');
    expect(await node.mountCount('kept')).toBe(0);
    expect(await locks()).toEqual([]);
  });

  test('defect A3: SIGTERM without mounts leaves no ticket and no lease', async () => {
    await node.create('brief');
    await node.ok('Mount', { Name: 'brief', ID: mountId });
    await unmount('brief');
    const before = await leases(cluster.etcd);
    expect(await node.daemon.stop()).toBe(0);
    expect(await leases(cluster.etcd)).toHaveLength(before.length - 1);
    const keys = await cluster.etcd.ctlOk('get', '--prefix', '/berth/locks/', '--keys-only');
    expect(keys.split('\n').filter(Boolean)).toHaveLength(1); // The lock of the other host's identity.
    await node.daemon.start();
  });

  test('scenario 47: a daemon that gets SIGTERM during a Mount finishes it first', async () => {
    await node.create('late');
    const { release, began } = await blockProgram(node.host, 'mount');
    const mounting = mount(node, 'late');
    await began();
    const stopping = node.daemon.stop();
    await delay(200);
    await release();
    expect(await mounting).toMatchObject({ Err: '', Mountpoint: node.mountpoint('late') });
    expect(await stopping).toBe(0);
    await node.daemon.start();
    await unmount('late');
    await node.waitUntilUnmounted('late');
    expect(await locks()).toEqual([]);
  });

  test.each(['before', 'after'] as const)(
    'when work is interrupted: after SIGKILL %s the kernel mounts, the volume can be mounted again',
    async (moment) => {
      const Name = `torn-${moment}`;
      await node.create(Name);
      const { began, release } = await blockProgram(node.host, 'mount', moment);
      node.begin('Mount', { Name, ID: mountId });
      await began();
      await node.daemon.kill();
      await release('kill');
      await node.daemon.start();
      await node.waitUntilUnmounted(Name);
      await waitFor(async () => (await locks()).length === 0, 5_000, 'the lock to be released');
      await node.ok('Mount', { Name, ID: mountId });
      expect(await node.mountCount(Name)).toBe(1);
      await unmount(Name);
      expect(await node.mountCount(Name)).toBe(0);
      await node.ok('Remove', { Name });
    },
  );

  test('after SIGKILL at any moment of a Mount, Create or Unmount, repeating the calls succeeds', async () => {
    await node.create('any');
    for (const [index, waitMs] of [0, 4, 8, 15, 30, 60].entries()) {
      const fresh = `any-${index}`;
      node.begin('Mount', { Name: 'any', ID: mountId });
      node.begin('Create', { Name: fresh, Opts: null });
      await delay(waitMs);
      node.begin('Unmount', { Name: 'any', ID: mountId });
      await delay(waitMs / 4);
      await node.daemon.kill();
      await node.daemon.start();
      await node.create(fresh);
      await node.ok('Mount', { Name: 'any', ID: mountId });
      expect(await node.mountCount('any')).toBe(1);
      // The engine may have sent two Mounts.
      await unmount('any');
      await unmount('any');
      await node.waitUntilUnmounted('any');
      await node.ok('Remove', { Name: fresh });
      expect(await locks()).toEqual([]);
    }
  });

  test('when a host reboots: the next start drops the mount table and releases the locks', async () => {
    await node.create('rebooted');
    await node.ok('Mount', { Name: 'rebooted', ID: mountId });
    await node.daemon.kill();
    await node.host.execOk('umount', node.mountpoint('rebooted'));
    const path = join(node.host.directory, 'berth/mounts.json');
    const table = await readFile(path, 'utf8');
    await writeFile(path, table.replaceAll(/"bootId":"[^"]+"/g, '"bootId":"an-earlier-one"'));
    await node.daemon.start();
    await waitFor(async () => (await node.table()).length === 0, 5_000, 'the row to be dropped');
    expect(await locks()).toEqual([]);
    expect((await mount(other, 'rebooted')).Err).toBe('');
    await other.ok('Unmount', { Name: 'rebooted', ID: mountId });
  });

  test('defect B6, when a dead host comes back: a daemon re-acquires its locks that nobody requested meanwhile', async () => {
    for (const name of ['mine', 'taken']) {
      await node.create(name);
      await node.ok('Mount', { Name: name, ID: mountId });
    }
    await node.daemon.kill();
    await waitFor(async () => (await locks()).length === 0, 15_000, 'the lease to expire');
    await other.ok('Mount', { Name: 'taken', ID: mountId });
    await node.daemon.start();
    await waitFor(async () => (await locks()).length === 2, 5_000, 'the lock to be re-acquired');
    expect((await mount(other, 'mine')).Err).toMatch(/mounted on host n1 since/);
    expect(node.daemon.log()).toMatch(/ERROR volume=taken is mounted here but its lock is not/);
    await node.waitUntilUnmounted('taken');
    const second = await node.call('Mount', { Name: 'taken', ID: 'e'.repeat(64) });
    expect(second.Err).toMatch(/volume taken is in use: mounted on host n2 since/);
    expect(await node.mountCount('mine')).toBe(1);
    for (const name of ['mine', 'taken']) await unmount(name);
    expect(await locks()).toEqual(['mount/taken']);
    await other.ok('Unmount', { Name: 'taken', ID: mountId });
    expect(await locks()).toEqual([]);
  });
});
