// The etcd servers of the tests: both versions, alone and three members, killed, paused, with TLS.
// etcd is real; the tests wait in real time.

import { expect, test } from '@jest/globals';
import type { Etcd } from './etcd-server.ts';
import { startEtcd } from './etcd-server.ts';
import { startNetwork } from './network.ts';
import { waitFor } from './processes.ts';
import { describeWith } from './requirements.ts';
import { makeTemporaryDirectory } from './temporary-directory.ts';
import { etcdVersions } from './tools.ts';

describeWith(['etcd'], 'etcd for tests', () => {
  test.each(etcdVersions)(
    'one member of version %s serves and counts revisions',
    async (version) => {
      await using etcd = await startEtcd({ version });
      expect(etcd.url).toMatch(/^etcd:\/\/127\.0\.0\.1:\d+$/);
      expect(await etcd.ctlOk('version')).toContain(`etcdctl version: ${version}`);
      const before = await etcd.revision();
      await etcd.ctlOk('put', 'key', 'value');
      expect(await etcd.revision()).toBe(before + 1);
    },
  );

  test.each(etcdVersions)(
    'three members of version %s survive the loss of one',
    async (version) => {
      await using etcd = await startEtcd({ version, members: 3 });
      expect(etcd.endpoints).toHaveLength(3);
      await etcd.kill(1);
      // If it led, the others elect a new leader first.
      const put = () => etcd.ctl('--command-timeout', '1s', 'put', 'key', 'value');
      await waitFor(async () => (await put()).code === 0, 10_000, 'the majority to go on');
      await etcd.restart(1);
      expect(await readFrom(etcd, 1, 'key')).toBe('value');
    },
  );

  test('a member that was killed comes back with its data on the same port', async () => {
    await using etcd = await startEtcd();
    await etcd.ctlOk('put', 'key', 'value');
    await etcd.kill();
    expect((await etcd.ctl('--command-timeout', '300ms', 'get', 'key')).code).not.toBe(0);
    await etcd.restart();
    expect(await readFrom(etcd, 0, 'key')).toBe('value');
  });

  test('a paused member does not answer until it is resumed', async () => {
    await using etcd = await startEtcd();
    etcd.pause();
    expect((await etcd.ctl('--command-timeout', '300ms', 'get', 'key')).code).not.toBe(0);
    etcd.resume();
    await etcd.ctlOk('get', 'key');
  });

  test('a directory of the caller outlives the server', async () => {
    await using directory = await makeTemporaryDirectory();
    {
      await using first = await startEtcd({ dir: directory.path });
      await first.ctlOk('put', 'key', 'value');
    }
    await using second = await startEtcd({ dir: directory.path });
    expect(await readFrom(second, 0, 'key')).toBe('value');
  });

  test('with TLS, only clients with a certificate are served', async () => {
    await using etcd = await startEtcd({ tls: true });
    expect(etcd.url).toMatch(/^etcds:/);
    await etcd.ctlOk('put', 'key', 'value');
    const [endpoint = ''] = etcd.endpoints;
    await expect(fetch(`${endpoint}/health`)).rejects.toThrow();
  });

  test('its processes end with its block', async () => {
    let pids: readonly number[] = [];
    {
      await using etcd = await startEtcd({ members: 3 });
      pids = etcd.pids;
    }
    expect(pids).toHaveLength(3);
    for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow('ESRCH');
  });
});

describeWith(['etcd', 'docker'], 'etcd on a network', () => {
  test('a member on the switch is reached at the address of the switch', async () => {
    await using network = await startNetwork();
    await using etcd = await startEtcd({ in: network });
    expect(etcd.url).toMatch(/^etcd:\/\/10\.55\.0\.254:/);
    await etcd.ctlOk('put', 'key', 'value');
  });
});

async function readFrom(etcd: Etcd, member: number, key: string): Promise<string> {
  const endpoint = etcd.endpoints[member] ?? '';
  return etcd.ctlOk('--endpoints', endpoint, 'get', key, '--print-value-only');
}
