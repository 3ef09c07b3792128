// The release before this tree and this tree: replaced in place below a running container, and back; and
// both on the hosts of one cluster. Real hosts with etcd and with the embedded store.

import { appendFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { repository } from '../../support/berth.ts';
import { checkOut, copyOfThisTree } from '../../support/earlier-release.ts';
import { startHost } from '../../support/host.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { makeTemporaryDirectory, memoryDirectory } from '../../support/temporary-directory.ts';
import { startClockWriter } from '../fencing/clock-writer.ts';
import type { BareCluster, BareNode } from '../hosts/bare-cluster.ts';
import { mountedOn, startBareCluster } from '../hosts/bare-cluster.ts';
import { startBareHost } from '../hosts/bare-host.ts';
import { startEngineNode } from '../hosts/cluster.ts';
import { startNode } from '../hosts/node.ts';

const ttl = '8s';
/** The mount ID that the engine would give. */
const mountId = 'a'.repeat(64);

/** Returns the storage workers below a process, by their command line. */
async function workersOf(root: number): Promise<number[]> {
  const children = await readFile(`/proc/${root}/task/${root}/children`, 'utf8');
  const found = children.split(' ').filter(Boolean).map(Number);
  const below = await Promise.all(found.map(workersOf));
  const command = await readFile(`/proc/${root}/cmdline`, 'utf8');
  const isWorker = command.includes('worker/main.ts');
  return [...(isWorker ? [root] : []), ...below.flat()];
}

describeWith(['docker', 'etcd', 'history'], 'two releases', () => {
  const stack = new AsyncDisposableStack();
  let cluster: BareCluster;
  /** The directory of the release before this tree. */
  let before: string;
  beforeAll(async () => {
    cluster = stack.use(await startBareCluster());
    before = stack.use(await checkOut('before')).path;
  });
  afterAll(() => stack.disposeAsync());

  describe('in place', () => {
    test.each([
      ['etcd', () => cluster.etcd.url],
      ['the embedded store', () => undefined],
    ])('below a running container, and back, on %s', async (_, storeOf) => {
      await using host = await startHost({ docker: '26.1', network: cluster.network, name: 'n0' });
      await using volumes = await makeTemporaryDirectory(memoryDirectory());
      const store = storeOf();
      await using node = await startEngineNode(host, {
        ...{ ttl: '16s', lockTimeout: '40s', release: before },
        // The hosts of one store share the pool of their volumes.
        ...(store ? { store, volumeDir: cluster.volumeDir } : { volumeDir: volumes.path }),
      });
      await node.create('kept');
      await node.shell('kept', 'echo before > /data/file');
      await node.create('used');
      const writer = await startClockWriter(node, { name: 'w0', volume: 'used' });
      const container = await writer.incarnation();

      for (const release of [repository, before, repository]) {
        await node.daemon.stop();
        await node.daemon.start(release);
        const { mounts } = JSON.parse(await node.daemon.berthOk('status', '--json'));
        expect(mounts).toMatchObject([{ volume: 'used', lock: 'held' }]);
        await writer.waitUntilItWrites();
        expect(await writer.incarnation()).toBe(container);
        expect(await node.shell('kept', 'cat /data/file')).toBe('before');
      }
      await node.down('w0');
      await node.waitUntilUnmounted('used');
      expect(await node.daemon.berthOk('doctor')).toMatch(/nothing|no findings/i);
    });
  });

  test('a daemon whose files were replaced refuses storage work that needs a new process, until it is restarted', async () => {
    await using tree = await copyOfThisTree();
    await using host = await startBareHost('n3');
    await using node = await startNode(host, { release: tree.path });
    await node.create('early');
    await appendFile(join(tree.path, 'lib/volumes/worker/calls.ts'), '\n');
    for (const pid of await workersOf(node.daemon.process.pid)) process.kill(pid, 'SIGKILL');
    const create = () => node.call('Create', { Name: 'late' });
    await waitFor(
      async () => (await create()).Err.includes("berth's program files were replaced"),
      20_000,
      'the refusal',
    );
    await node.daemon.stop();
    await node.daemon.start();
    expect((await create()).Err).toBe('');
  });

  describe('in one cluster', () => {
    const hosts: { earlier?: BareNode; today?: BareNode } = {};
    const ends = { ttl, lockTimeout: '0s' };
    beforeAll(async () => {
      hosts.earlier = await cluster.join('n1', { ...ends, release: before });
      hosts.today = await cluster.join('n2', ends);
    });

    test.each([
      ['the earlier release', 'earlier', 'today'],
      ['this release', 'today', 'earlier'],
    ] as const)('a volume and its lock are those of %s for the other, too', async (_, a, b) => {
      const [one, two] = [hosts[a], hosts[b]];
      if (!one || !two) throw new Error('there are two hosts');
      const name = `by-${a}`;
      await one.create(name);
      await one.ok('Mount', { Name: name, ID: mountId });
      expect((await two.ok('List')).Volumes.map((each) => each.Name)).toContain(name);
      for (const refused of [
        await two.call('Mount', { Name: name, ID: mountId }),
        await two.call('Remove', { Name: name }),
      ]) {
        expect(refused.Err).toMatch(mountedOn(one.name));
      }
      await one.ok('Unmount', { Name: name, ID: mountId });
      await two.ok('Mount', { Name: name, ID: mountId });
      await two.ok('Unmount', { Name: name, ID: mountId });
      await two.ok('Remove', { Name: name });
      expect((await one.call('Mount', { Name: name, ID: mountId })).Err).toMatch(
        /no volume|not found|no such/i,
      );
    });

    test.each([
      ['the earlier release', 'earlier', 'today'],
      ['this release', 'today', 'earlier'],
    ] as const)(
      'the volume of a killed host of %s is free for the other after the TTL',
      async (_, a, b) => {
        const [one, two] = [hosts[a], hosts[b]];
        if (!one || !two) throw new Error('there are two hosts');
        const name = `left-${a}`;
        await one.create(name);
        await one.ok('Mount', { Name: name, ID: mountId });
        await one.daemon.kill();
        expect((await two.call('Mount', { Name: name, ID: mountId })).Err).toMatch(
          mountedOn(one.name),
        );
        let answer = await two.call('Mount', { Name: name, ID: mountId });
        while (answer.Err !== '') answer = await two.call('Mount', { Name: name, ID: mountId });
        await one.daemon.start();
        expect((await one.call('Mount', { Name: name, ID: mountId })).Err).toMatch(
          mountedOn(two.name),
        );
        await two.ok('Unmount', { Name: name, ID: mountId });
      },
    );
  });
});
