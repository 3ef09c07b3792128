// A host without any trouble leaves its volumes' cached data alone; one that is cut off writes them back
// before its deadline. A real etcd, a real sentinel and the shortest TTL of practice, 5 s.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from '@jest/globals';
import { bootNowMs } from '../../../lib/linux/boot.ts';
import { startEtcd } from '../../support/etcd-server.ts';
import { startNetwork } from '../../support/network.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { startBareHost } from '../hosts/bare-host.ts';
import { startNode } from '../hosts/node.ts';

const ttlMs = 5_000;

describeWith(['etcd'], 'a host with a short TTL', () => {
  test('F1: writes nothing back at its renewals, and writes back before it is fenced', async () => {
    await using network = await startNetwork();
    await using etcd = await startEtcd({ in: network });
    await using host = await startBareHost('n1', network);
    await using node = await startNode(host, { store: etcd.url, ttl: `${ttlMs}ms` });
    const syncs = join(host.directory, 'syncs');
    await host.shadow('sync', `echo "$(cut -d ' ' -f 1 /proc/uptime) $*" >> ${syncs}`);
    await node.create('db', { driver: 'directory' });
    await node.ok('Mount', { Name: 'db', ID: 'a' });

    const mountedMs = bootNowMs();
    const lastMs = async () => {
      const lines = (await readFile(syncs, 'utf8').catch(() => '')).trim().split('\n');
      return 1_000 * Number(lines.at(-1)?.split(' ')[0]);
    };
    // Several renewals in a row; a machine that is busy may be late for one of them before.
    const isQuiet = async () => bootNowMs() - Math.max(mountedMs, await lastMs()) > 2 * ttlMs;
    await waitFor(isQuiet, 4 * ttlMs, 'several renewals without a sync');

    const cutOffMs = bootNowMs();
    await host.disconnect();
    await waitFor(async () => (await lastMs()) > cutOffMs, ttlMs, 'a sync');
    await host.reconnect();
    await node.ok('Unmount', { Name: 'db', ID: 'a' });
  });
});
