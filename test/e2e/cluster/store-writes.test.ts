// Counts the etcd revisions of each operation of a real daemon; no Docker engine.

import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { describeWith } from '../../support/requirements.ts';
import { startBareCluster } from '../hosts/bare-cluster.ts';

const mountId = 'a'.repeat(64);

describeWith(['root', 'etcd'], 'writes of a daemon to etcd', () => {
  test('an operation takes at most two revisions; reading and waiting take none', async () => {
    await using cluster = await startBareCluster();
    const node = await cluster.join('n1');
    const rows: string[] = [];
    await node.create('first'); // The first volume of a cluster marks the pool.

    async function written(operation: string, work: () => Promise<unknown>): Promise<number> {
      const before = await cluster.etcd.revision();
      await work();
      const writes = (await cluster.etcd.revision()) - before;
      rows.push(`${operation.padEnd(34)}${writes}`);
      return writes;
    }
    const each = (method: string, ...bodies: object[]) =>
      written(method, async () => {
        for (const body of bodies) await node.ok(method, body);
      });

    expect(await each('Create', { Name: 'v1', Opts: {} })).toBeLessThanOrEqual(2);
    expect(await each('Mount', { Name: 'v1', ID: mountId })).toBeLessThanOrEqual(1);
    const again = { Name: 'v1', ID: 'b'.repeat(64) };
    expect(await written('Mount of a second container', () => node.ok('Mount', again))).toBe(0);
    expect(await written('Unmount of one of two', () => node.ok('Unmount', again))).toBe(0);
    expect(await each('Get', { Name: 'v1' }, { Name: 'v1' })).toBe(0);
    expect(await each('List', {}, {})).toBe(0);
    expect(await each('Path', { Name: 'v1' })).toBe(0);
    expect(await each('Snapshot', { Name: 'v1', Snapshot: 's' })).toBeLessThanOrEqual(2);
    expect(await each('Copy', { Name: 'v1', Target: 'w1' })).toBeLessThanOrEqual(2);
    expect(await each('Unmount', { Name: 'v1', ID: mountId })).toBeLessThanOrEqual(1);
    expect(await each('Remove', { Name: 'w1' })).toBeLessThanOrEqual(2);

    const names = Array.from({ length: 20 }, (_, index) => `idle-${index}`);
    for (const Name of names) {
      await node.create(Name);
      await node.ok('Mount', { Name, ID: mountId });
    }
    expect(await written('2 s with 20 volumes mounted', () => delay(2_000))).toBe(0);
    for (const Name of names) await node.ok('Unmount', { Name, ID: mountId });
    process.stderr.write(`writes to etcd\n${rows.map((row) => `  ${row}\n`).join('')}`);
  });
});
