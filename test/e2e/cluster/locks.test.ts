// The locks of two daemons under refusals, failed mounts and callers that hang up. etcd and the
// mounts are real; no Docker engine: the test makes its calls.

import { existsSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { openDescriptors, waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { BareCluster, BareNode } from '../hosts/bare-cluster.ts';
import { leases, startBareCluster } from '../hosts/bare-cluster.ts';

const mountId = 'c'.repeat(64);

describeWith(['root', 'etcd'], 'locks of daemons', () => {
  let cluster: BareCluster;
  let node: BareNode;
  let other: BareNode;

  beforeAll(async () => {
    cluster = await startBareCluster();
    [node, other] = await Promise.all([
      cluster.join('n1', { lockTimeout: '1s' }),
      cluster.join('n2', { lockTimeout: '1s' }),
    ]);
  });
  afterAll(async () => {
    await cluster[Symbol.asyncDispose]();
  });

  test('defect A4: a Remove that times out behind a snapshot leaves no lock', async () => {
    await node.create('busy');
    const hold = join(other.host.directory, 'hold');
    await other.host.shadow('setpriv', waitingFor(hold)); // It starts each copy.
    const snapshot = other.ok('Snapshot', { Name: 'busy', Snapshot: 'monday' });
    await waitFor(async () => (await locks()).length > 0, 5_000, 'the snapshot to begin');

    const { Err } = await node.call('Remove', { Name: 'busy' });
    expect(Err).toMatch(/being snapshotted by host n2 since 20\d\d-\S+Z .*; gave up after 1 s/);
    expect(await locks()).toEqual(['mount/busy', 'snapshot/busy']);

    await other.host.execOk('touch', hold);
    await snapshot;
    await other.host.unshadow('setpriv');
    expect(await locks()).toEqual([]);
    expect((await node.call('Remove', { Name: 'busy' })).Err).toContain('busy@monday');
    expect(await locks()).toEqual([]);
  });

  test('a volume that one host disables accepts no new user on any host and keeps its present one', async () => {
    await node.create('off');
    await other.ok('Mount', { Name: 'off', ID: mountId });
    await node.daemon.berthOk('lock', 'disable', 'off', '--why', 'upgrade');
    const isHeard = async () =>
      (await other.daemon.berthOk('lock', 'inspect', 'off')).includes('upgrade');
    await waitFor(isHeard, 5_000, 'the other host to see the disabled volume');
    const refusal = /^volume off is disabled by host n1 since \S+Z \(upgrade\); enable it again/;
    const mount = async (by: BareNode, id: string) =>
      (await by.call('Mount', { Name: 'off', ID: id })).Err;
    expect(await mount(other, 'e'.repeat(64))).toMatch(refusal);
    expect(await mount(node, mountId)).toMatch(refusal);

    await other.daemon.kill();
    await other.daemon.start();
    expect(await mount(other, 'e'.repeat(64))).toMatch(refusal);
    expect(await mount(other, mountId)).toBe('');
    await other.ok('Unmount', { Name: 'off', ID: mountId });
    await other.ok('Unmount', { Name: 'off', ID: mountId });
    await other.waitUntilUnmounted('off');
    expect(await mount(node, mountId)).toMatch(refusal);
    await other.daemon.berthOk('lock', 'enable', 'off');
    expect(await mount(node, mountId)).toBe('');
    await node.ok('Unmount', { Name: 'off', ID: mountId });
    await node.ok('Remove', { Name: 'off' });
    expect(await locks()).toEqual([]);
  });

  test('defects A5 and A13: an Unmount of an unmounted volume and all reading calls write nothing to etcd', async () => {
    await node.create('quiet');
    const before = await cluster.etcd.revision();
    for (let round = 0; round < 20; round += 1) {
      await node.ok('Unmount', { Name: 'quiet', ID: mountId });
      await other.ok('Unmount', { Name: 'quiet', ID: mountId });
      await node.ok('Unmount', { Name: 'unheard-of', ID: mountId });
      await node.ok('Get', { Name: 'quiet' });
      await node.ok('Path', { Name: 'quiet' });
      await node.ok('List');
    }
    expect(await cluster.etcd.revision()).toBe(before);
  });

  test.each([
    {
      why: 'of a volume without storage',
      error: 'the storage of volume failing is not there',
      prepare: () => rename(storage('failing'), storage('hidden')),
      restore: () => rename(storage('hidden'), storage('failing')),
    },
    {
      why: 'that the kernel refuses',
      error: 'wrong fs type',
      prepare: () => node.host.shadow('mount', 'echo mount: wrong fs type >&2; exit 32'),
      restore: () => node.host.unshadow('mount'),
    },
  ])(
    'defect A6: a Mount $why leaves no lock and no mount, and a later Mount succeeds',
    async ({ error, prepare, restore }) => {
      await node.create('failing');
      await prepare();
      expect((await node.call('Mount', { Name: 'failing', ID: mountId })).Err).toContain(error);
      await expectNothingMounted('failing');
      await restore();
      await node.ok('Mount', { Name: 'failing', ID: mountId });
      await node.ok('Unmount', { Name: 'failing', ID: mountId });
      await node.ok('Remove', { Name: 'failing' });
    },
  );

  test('when a client gives up: its Mount is rolled back', async () => {
    await node.create('left');
    const hold = join(node.host.directory, 'hold-left');
    await node.host.shadow('mount', waitingFor(hold));
    const call = node.begin('Mount', { Name: 'left', ID: mountId });
    await waitFor(async () => (await locks()).length > 0, 5_000, 'the mount to begin');
    call.leave();
    await waitFor(async () => (await locks()).length === 0, 5_000, 'the roll-back');
    await expectNothingMounted('left');
    await node.host.unshadow('mount');
    await other.ok('Mount', { Name: 'left', ID: mountId });
    await other.ok('Unmount', { Name: 'left', ID: mountId });
  });

  test('500 mounts leave no descriptor, lease, watch or ticket behind', async () => {
    await node.create('cycled');
    const cycle = async () => {
      await node.ok('Mount', { Name: 'cycled', ID: mountId });
      await node.ok('Unmount', { Name: 'cycled', ID: mountId });
    };
    for (let round = 0; round < 10; round += 1) await cycle();
    const before = await used();
    for (let round = 0; round < 500; round += 1) await cycle();
    // A descriptor may take a moment to close.
    await waitFor(async () => (await used()).descriptors <= before.descriptors, 2_000, 'no leak');
    expect({ ...(await used()), descriptors: 0 }).toEqual({ ...before, descriptors: 0 });
    await expectNothingMounted('cycled');
  });

  const locks = () => cluster.store.locks();
  const storage = (volume: string) => join(cluster.volumeDir, 'directory', volume);

  async function expectNothingMounted(volume: string): Promise<void> {
    expect(await locks()).toEqual([]);
    expect(await node.table()).toEqual([]);
    expect(await node.mountCount(volume)).toBe(0);
    expect(existsSync(node.mountpoint(volume))).toBe(false);
  }

  async function used() {
    const [endpoint = ''] = cluster.etcd.endpoints;
    const { stdout: metrics } = await cluster.network.exec('curl', ['-s', `${endpoint}/metrics`]);
    return {
      descriptors: await openDescriptors(node.daemon.process.pid),
      leases: (await leases(cluster.etcd)).length,
      watchers: /^etcd_debugging_mvcc_watcher_total (\d+)/m.exec(metrics)?.[1] ?? 'unknown',
      keys: (await cluster.etcd.ctlOk('get', '--prefix', '/', '--keys-only')).split('\n').length,
    };
  }
});

/** Returns a script that runs the real program only after a file has appeared. */
function waitingFor(path: string): string {
  return `while [ ! -e ${path} ]; do sleep 0.02; done; exec /usr/bin/$(basename "$0") "$@"`;
}
