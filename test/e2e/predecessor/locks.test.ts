// Faults of earlier plugins with locks and counts; test/promises/promises.test.ts lists all. Real
// daemons and etcd, no Docker engine; real time, a TTL of 5 s.
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { describeWith } from '../../support/requirements.ts';
import type { BareCluster, BareNode } from '../hosts/bare-cluster.ts';
import { mountedOn, startBareCluster } from '../hosts/bare-cluster.ts';
import { blockProgram } from '../hosts/block-program.ts';

const [ID, ANOTHER] = ['a'.repeat(64), 'b'.repeat(64)];
const ttlMs = 5_000;
const ttl = `${ttlMs}ms`;

describeWith(['root', 'etcd'], 'locks and counts of mounts', () => {
  let cluster: BareCluster;
  let one: BareNode;
  /** Waits long enough to get a lock after the TTL. */
  let two: BareNode;

  beforeAll(async () => {
    cluster = await startBareCluster();
    [one, two] = await Promise.all([
      cluster.join('n1', { ttl, lockTimeout: '500ms' }),
      cluster.join('n2', { ttl, lockTimeout: '20s' }),
    ]);
  });
  afterAll(async () => cluster?.[Symbol.asyncDispose]());

  const locks = () => cluster.store.locks();
  async function expectNothing(volume: string): Promise<void> {
    expect(await one.mountCount(volume)).toBe(0);
    expect(await one.table()).toEqual([]);
    expect(await locks()).toEqual([]);
  }

  test('defects A5 and B12: too many Unmounts and repeated Mounts do no harm', async () => {
    await one.create('counted');
    const mount = (id: string) => one.ok('Mount', { Name: 'counted', ID: id });
    const unmount = (id: string) => one.ok('Unmount', { Name: 'counted', ID: id });
    for (let time = 0; time < 3; time += 1) await unmount(ID);
    expect(await locks()).toEqual([]);
    await mount(ID);
    await mount(ID);
    await mount(ANOTHER);
    for (let time = 0; time < 3; time += 1) await unmount(ANOTHER);
    await unmount(ID);
    expect(await one.mountCount('counted')).toBe(1);
    expect((await one.call('Remove', { Name: 'counted' })).Err).toMatch(mountedOn('n1'));
    for (let time = 0; time < 3; time += 1) await unmount(ID);
    await expectNothing('counted');
    await mount(ID);
    await unmount(ID);
    await expectNothing('counted');
    expect(one.daemon.process.hasExited).toBe(false);
  });

  test('defect A7: a failed Mount of a shared volume is answered at once and leaves nothing', async () => {
    await one.create('broken', { access: 'shared' });
    await one.host.shadow('mount', 'echo mount: wrong fs type >&2; exit 32');
    const started = performance.now();
    const { Err } = await one.call('Mount', { Name: 'broken', ID });
    expect(performance.now() - started).toBeLessThan(10_000);
    expect(Err).toContain('wrong fs type');
    await one.host.unshadow('mount');
    await expectNothing('broken');
    await one.ok('Mount', { Name: 'broken', ID });
    await one.ok('Unmount', { Name: 'broken', ID });
    await expectNothing('broken');
  });

  test('defect A8: two operations of one host exclude each other, and each releases only its own lock', async () => {
    await one.create('source');
    const { began, release } = await blockProgram(one.host, 'setpriv'); // It starts each copy.
    const first = one.ok('Snapshot', { Name: 'source', Snapshot: 'first' });
    await began();
    for (const [method, rest] of [
      ['Snapshot', { Snapshot: 'second' }],
      ['Remove', {}],
    ] as const) {
      const { Err } = await one.call(method, { Name: 'source', ...rest });
      expect(Err).toMatch(/being snapshotted by host n1 since/);
      expect(await locks()).toEqual(['mount/source', 'snapshot/source']);
    }
    const third = two.ok('Snapshot', { Name: 'source', Snapshot: 'third' });
    await release();
    await first;
    await third;
    expect(await locks()).toEqual([]);
  });

  test('defect B8: of two concurrent Mounts, neither is answered before the volume is mounted', async () => {
    await one.create('slow');
    const { began, release } = await blockProgram(one.host, 'mount');
    const answers: number[] = [];
    const mounting = [ID, ANOTHER].map(async (id) => {
      const { Mountpoint } = await one.ok('Mount', { Name: 'slow', ID: id });
      answers.push(await one.mountCount('slow'));
      expect(Mountpoint).toBe(one.mountpoint('slow'));
    });
    await began();
    await delay(300);
    expect(answers).toEqual([]);
    await release();
    await Promise.all(mounting);
    expect(answers).toEqual([1, 1]);
    for (const id of [ID, ANOTHER]) await one.ok('Unmount', { Name: 'slow', ID: id });
    await expectNothing('slow');
  });

  test('defect B9: an Unmount during a Mount waits for it and then unmounts', async () => {
    await one.create('hasty');
    const { began, release } = await blockProgram(one.host, 'mount');
    const mounting = one.ok('Mount', { Name: 'hasty', ID });
    await began();
    const unmounting = one.ok('Unmount', { Name: 'hasty', ID });
    await delay(300);
    await release();
    await Promise.all([mounting, unmounting]);
    await expectNothing('hasty');
    await one.ok('Mount', { Name: 'hasty', ID });
    expect(await one.mountCount('hasty')).toBe(1);
    await one.ok('Unmount', { Name: 'hasty', ID });
    await expectNothing('hasty');
  });

  // Must be the last test: n1 has no daemon for a while.
  test('defect A2: the volume of a daemon killed just after Mounts is free for others after the TTL', async () => {
    await one.create('left');
    await one.ok('Mount', { Name: 'left', ID });
    // Further calls must not make the lock permanent.
    await one.ok('Mount', { Name: 'left', ID });
    await one.ok('Unmount', { Name: 'left', ID });
    await one.daemon.kill();
    const killed = performance.now();
    await two.ok('Mount', { Name: 'left', ID: ANOTHER });
    const waitedMs = performance.now() - killed;
    expect(waitedMs).toBeGreaterThan(ttlMs / 4);
    await two.ok('Unmount', { Name: 'left', ID: ANOTHER });
    await one.daemon.start();
    await one.waitUntilUnmounted('left');
    expect(await locks()).toEqual([]);
  });
});
