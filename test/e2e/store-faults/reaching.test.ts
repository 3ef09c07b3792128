// A daemon whose etcd has names that lead nowhere when it starts, and are changed later. A real etcd; the names are
// in a file of the host. Mounts are real; no Docker engine.
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import { startEtcd } from '../../support/etcd-server.ts';
import { eventually } from '../../support/eventually.ts';
import { startNetwork } from '../../support/network.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { startBareCluster } from '../hosts/bare-cluster.ts';
import { startBareHost } from '../hosts/bare-host.ts';
import { startNode } from '../hosts/node.ts';

const mountId = 'a'.repeat(64);

const memberSchema = z.object({
  endpoint: z.string(),
  name: z.string().optional(),
  reachable: z.boolean(),
  why: z.string().optional(),
  role: z.string().optional(),
  leader: z.string().optional(),
});
const statusSchema = z.object({
  store: z.object({ reachable: z.boolean(), members: z.array(memberSchema) }),
  conditions: z.array(z.object({ message: z.string() })),
});

/** Starts etcd on three hosts, and a daemon on a fourth whose settings have the first `known` members. */
async function startOnHosts(stack: AsyncDisposableStack, known: number) {
  const network = stack.use(await startNetwork());
  const machines = await Promise.all(
    ['e0', 'e1', 'e2', 'n1'].map(async (name) => stack.use(await startBareHost(name, network))),
  );
  const [, , last, host] = machines;
  if (!host || !last) throw new Error('there are too few hosts');
  const etcd = stack.use(await startEtcd({ members: 3, in: machines.slice(0, 3) }));
  const store = etcd.url.split(',').slice(0, known).join(',');
  const node = stack.use(await startNode(host, { store }));
  const status = async () => statusSchema.parse(await node.status());
  const members = async () => (await status()).store.members;
  const whys = async () => (await members()).map(({ why }) => why ?? 'reachable');
  return { etcd, host, last, node, status, members, whys };
}

describeWith(['root', 'etcd'], 'berth on an etcd whose members are on hosts of their own', () => {
  test('faults 9: a cluster is found, also by a new daemon, that has left its configured address', async () => {
    await using stack = new AsyncDisposableStack();
    const { etcd, host, node, status, whys } = await startOnHosts(stack, 1);
    const file = join(host.directory, 'berth', 'members-etcd');
    await waitFor(() => existsSync(file), 20_000, 'the members to be learnt');
    await node.create('db');
    const ids = (await etcd.ctlOk('member', 'list')).split('\n');
    const first = ids.find((line) => line.includes(' m0,'))?.split(',')[0] ?? '';
    await etcd.kill(0);
    await eventually(async () =>
      expect(await whys()).toEqual(['connection refused', 'reachable', 'reachable']),
    );
    await node.ok('Mount', { Name: 'db', ID: mountId });

    await node.daemon.kill();
    await node.daemon.start();
    await eventually(async () => expect((await status()).store.reachable).toBe(true));
    await node.ok('Unmount', { Name: 'db', ID: mountId });
    await etcd.ctlOk('member', 'remove', first);
    await eventually(async () =>
      expect((await status()).conditions.map(({ message }) => message)).toContainEqual(
        expect.stringMatching(
          /^etcd member .*; all members .* answer elsewhere, so correct .*store/,
        ),
      ),
    );
  });

  test('berth status shows each member, also those that are down, cut off or frozen', async () => {
    await using stack = new AsyncDisposableStack();
    const { etcd, last: cutOff, members, whys } = await startOnHosts(stack, 3);
    await waitFor(async () => (await members()).every(({ role }) => role), 10_000, 'a leader');
    const all = await members();
    expect(all.map(({ name }) => name)).toEqual(['m0', 'm1', 'm2']);
    expect(all.filter(({ role }) => role === 'leader')).toHaveLength(1);
    const leader = all.find(({ role }) => role === 'leader')?.name;
    for (const { role, leader: followed } of all) {
      if (role === 'follower') expect(followed).toBe(leader);
    }

    await etcd.kill(0);
    await cutOff.disconnect();
    // The limit of each look: nothing waits for the packets that are lost.
    const lost = 'no answer within 0.75 s';
    await eventually(async () =>
      expect(await whys()).toEqual(['connection refused', 'reachable', lost]),
    );
    etcd.pause(1);
    expect(await whys()).toEqual(['connection refused', lost, lost]);
    etcd.resume(1);
    await cutOff.reconnect();
    await etcd.restart(0);
    await eventually(async () => expect(await whys()).toEqual(Array(3).fill('reachable')));
  });
});

describeWith(['root', 'etcd'], 'berth on an etcd that it does not reach at its start', () => {
  test('faults 9, clients F8: it says so at once, and finds etcd when its names lead there', async () => {
    await using cluster = await startBareCluster();
    await using host = await startBareHost('n1', cluster.network);
    const { hostname, port } = new URL(cluster.etcd.endpoints[0] ?? '');
    const names = join(host.directory, 'names');
    // A port of this host's own, where nobody listens: connections are refused at once.
    await writeFile(names, '127.0.0.1 e1.lab e2.lab\n');
    await host.execOk('mount', '--bind', names, '/etc/hosts');
    const store = `etcd://e1.lab:${port},e2.lab:${port}`;
    const { volumeDir } = cluster;
    await using node = await startNode(host, { store, volumeDir, lockTimeout: '2s' });
    expect(node.daemon.log()).toMatch(/berth serves "berth" on .*store: etcd, NOT reachable yet/);
    await waitFor(
      () => /berth: the store can't be reached.*e1\.lab.*goes on trying/.test(node.daemon.log()),
      5_000,
      'the reason',
    );
    expect((await node.daemon.berth('status')).code).toBe(5);

    await writeFile(names, `${hostname} e1.lab e2.lab\n`);
    await waitFor(
      () => node.daemon.log().includes('berth: the store is reachable now'),
      20_000,
      'etcd to be found',
    );
    await node.create('db');
    await node.ok('Mount', { Name: 'db', ID: mountId });
    await node.ok('Unmount', { Name: 'db', ID: mountId });
    expect((await node.daemon.berth('status')).code).toBe(0);
  });
});
