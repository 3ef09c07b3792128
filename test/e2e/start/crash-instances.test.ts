// A second daemon is started by mistake beside a running one. Real daemons, etcd and mounts; no
// Docker engine.

import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import type { FinishedProcess } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { BareCluster, BareNode } from '../hosts/bare-cluster.ts';
import { startBareCluster } from '../hosts/bare-cluster.ts';

const program = join(import.meta.dirname, '../../../plugin/main.ts');
const mountId = 'f'.repeat(64);

describeWith(['root', 'etcd'], 'a second daemon that is started by mistake', () => {
  let cluster: BareCluster;
  let node: BareNode;

  beforeAll(async () => {
    cluster = await startBareCluster();
    node = await cluster.join('n1');
    await node.create('v1');
    await node.ok('Mount', { Name: 'v1', ID: mountId });
  });
  afterAll(async () => {
    await cluster[Symbol.asyncDispose]();
  });

  /** Runs a daemon with the settings of the first, except those given. */
  async function second(settings: Readonly<Record<string, string>>): Promise<FinishedProcess> {
    const { host } = node;
    const all = {
      host: 'n1',
      'state-dir': join(host.directory, 'berth'),
      'volume-dir': cluster.volumeDir,
      'docker-socket': host.dockerSocket,
      store: cluster.etcd.url,
      ...settings,
    };
    const flags = Object.entries(all).flatMap(([name, value]) => [`--${name}`, value]);
    return host.exec('node', [program, ...flags]);
  }

  /** Returns the settings of a daemon with its own state directory and sockets. */
  const own = (name: string) => ({
    'state-dir': join(node.host.directory, name),
    socket: join(node.host.directory, `${name}.sock`),
    'admin-socket': join(node.host.directory, `${name}-admin.sock`),
  });

  afterEach(async () => {
    expect(await cluster.store.locks()).toEqual(['mount/v1']);
    expect(await node.mountCount('v1')).toBe(1);
    expect(await node.ok('Mount', { Name: 'v1', ID: mountId })).toMatchObject({ Err: '' });
    expect((await node.table()).map(({ volume }) => volume)).toEqual(['v1']);
  });

  test('scenario 47: a daemon with the same state directory is refused', async () => {
    const { 'state-dir': _, ...sockets } = own('second');
    const { code, stderr } = await second({ ...sockets, host: 'n2' });
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringMatching(/another berth uses the state directory \S+berth: stop it/),
    });
  });

  test.each(['socket', 'admin-socket'] as const)(
    'a daemon with the same %s is refused',
    async (taken) => {
      const { [taken]: _, ...rest } = own('third');
      const { code, stderr } = await second({ ...rest, host: 'n3' });
      expect({ code, stderr }).toEqual({
        code: 1,
        stderr: expect.stringMatching(/another berth is serving on \/run\/\S+\.sock: stop it/),
      });
    },
  );

  test('a daemon with the same host identity is refused, even if everything else is its own', async () => {
    const { code, stderr } = await second(own('fourth'));
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringMatching(
        /another berth runs with this host's identity \(\S+\.n1, since 20\S+Z\); stop it, or .*--host/,
      ),
    });
  });

  test('scenario 47: a daemon replaces a killed one, whose socket files still exist', async () => {
    await node.daemon.kill();
    await node.host.execOk('test', '-S', '/run/docker/plugins/berth.sock');
    await node.host.execOk('test', '-S', '/run/berth/admin.sock');
    await node.daemon.start();
  });
});
