// A host gets another name while it holds volumes with failover=manual, whose locks nobody gets by waiting: real
// daemons and etcd, no Docker engine.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { BareCluster, BareNode } from '../hosts/bare-cluster.ts';
import { startBareCluster } from '../hosts/bare-cluster.ts';
import type { Node } from '../hosts/node.ts';
import { startNode } from '../hosts/node.ts';

const patienceMs = 60_000;
const options = { ttl: '5s', lockTimeout: '0s' };

describeWith(['root', 'etcd'], 'a host that was renamed', () => {
  let stack: AsyncDisposableStack;
  let cluster: BareCluster;
  let former: BareNode;
  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    cluster = stack.use(await startBareCluster());
    former = await cluster.join('n1', options);
    await former.create('db', { failover: 'manual' });
    await former.ok('Mount', { Name: 'db', ID: 'one' });
  });
  afterEach(() => stack.disposeAsync().then());

  async function renamed() {
    const { etcd, volumeDir } = cluster;
    const host = { ...former.host, name: 'n9' };
    return stack.use(await startNode(host, { store: etcd.url, volumeDir, ...options }));
  }

  const mounts = async (node: Node) => (await status(node)).mounts;
  const status = async (node: Node) =>
    JSON.parse((await node.daemon.berth('status', '--json')).stdout);
  const messages = async (node: Node): Promise<string[]> =>
    (await status(node)).conditions.map(({ message }: { message: string }) => message);

  test('bug-reports 16: with volumes mounted it keeps its former name until they are unmounted', async () => {
    await former.daemon.kill();
    const node = await renamed();
    expect(await mounts(node)).toMatchObject([{ volume: 'db', lock: 'held' }]);
    expect((await status(node)).host).toBe('n1');
    expect(await messages(node)).toContainEqual(
      expect.stringMatching(/^the host is called n9 now, .* stays n1 until they are unmounted/),
    );
    await node.ok('Unmount', { Name: 'db', ID: 'one' });
    await node.daemon.stop();
    await node.daemon.start();
    expect((await status(node)).host).toBe('n9');
    expect(await messages(node)).not.toContainEqual(expect.stringContaining('n1'));
    await node.ok('Mount', { Name: 'db', ID: 'two' });
    expect(await mounts(node)).toMatchObject([{ volume: 'db', lock: 'held' }]);
  });

  test('bug-reports 16: what it has left under its former name is named, and cleared by the command that it names', async () => {
    await former.daemon.kill();
    await rm(join(former.host.directory, 'berth', 'host.json')); // As after a boot: nothing tells it from a copy.
    const node = await renamed();
    const refused = await node.call('Mount', { Name: 'db', ID: 'two' });
    expect(refused.Err).toMatch(/mounted on host n1 .*until it is released or cleared/);
    const said =
      /^the volume db .* locked by host n1, .* former name .*: berth (lock clear db --token \d+)$/;
    let command: string | undefined;
    await waitFor(
      async () => {
        const [found] = (await messages(node)).flatMap((text) => said.exec(text) ?? []).slice(1);
        command = found;
        return command !== undefined;
      },
      patienceMs,
      'the lock of the former name to be named',
    );
    await node.daemon.berthOk(...(command ?? '').split(' '));
    await waitFor(
      async () => (await node.call('Mount', { Name: 'db', ID: 'two' })).Err === '',
      patienceMs,
      'the volume',
    );
    expect((await messages(node)).some((text) => said.test(text))).toBe(false);
  });
});
