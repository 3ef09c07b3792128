// Faults of earlier plugins with running containers, and an upgrade below a container. A real
// engine and etcd, real time.
import { cp, mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { berthFlags, repository } from '../../support/berth.ts';
import type { Etcd } from '../../support/etcd-server.ts';
import { startEtcd } from '../../support/etcd-server.ts';
import { startHost } from '../../support/host.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { etcdView } from '../../support/store-view.ts';
import type { EngineNode } from '../hosts/cluster.ts';
import { startEngineNode } from '../hosts/cluster.ts';

describeWith(['docker', 'etcd'], 'containers while berth restarts', () => {
  const stack = new AsyncDisposableStack();
  const flags = ['--reconcile-interval', '1s'];
  let etcd: Etcd;
  let node: EngineNode;
  const locks = () => etcdView(etcd).locks();
  const events = (volume: string) => node.daemon.berthOk('events', '--volume', volume);

  beforeAll(async () => {
    const host = stack.use(await startHost());
    etcd = stack.use(await startEtcd({ in: host }));
    node = stack.use(await startEngineNode(host, { store: etcd.url, flags }));
  });
  afterAll(() => stack.disposeAsync());

  async function running(volume: string): Promise<void> {
    await node.create(volume);
    const { code, stderr } = await node.up(volume, volume);
    if (code !== 0) throw new Error(stderr);
    await node.dockerOk('exec', volume, 'sh', '-c', 'echo data > /data/file');
  }
  const read = (container: string) => node.dockerOk('exec', container, 'cat', '/data/file');
  async function expectFree(volume: string): Promise<void> {
    await node.waitUntilUnmounted(volume);
    await waitFor(
      async () => !(await locks()).includes(`mount/${volume}`),
      5_000,
      'the lock to be released',
    );
  }

  test('defects B1 and B4: paused, restarting and unmounted containers count as users of their volumes', async () => {
    for (const volume of ['paused', 'lost']) await running(volume);
    await node.dockerOk('pause', 'paused');
    await node.create('again');
    const once = 'echo turn >> /data/file; sleep 0.3; exit 1';
    await node.dockerOk(
      ...['run', '-d', '--name', 'again', '--restart', 'always', '-v', 'again:/data'],
      ...['busybox', 'sh', '-c', once],
    );
    await node.daemon.kill();
    await node.host.execOk('umount', node.mountpoint('lost'));
    await node.daemon.start();
    // The daemon checks more than once meanwhile which mounts are in use.
    await delay(3_000);

    expect(await node.mountCount('paused')).toBe(1);
    expect(await events('paused')).not.toMatch(/no container|nothing uses it/);
    await node.dockerOk('unpause', 'paused');
    expect(await read('paused')).toBe('data');
    expect(await read('lost')).toBe('data');
    expect(await locks()).toEqual(expect.arrayContaining(['mount/lost', 'mount/paused']));
    const restarts = async () =>
      Number(await node.dockerOk('inspect', '-f', '{{.RestartCount}}', 'again'));
    const before = await restarts();
    await waitFor(async () => (await restarts()) > before, 20_000, 'another restart');
    for (const container of ['paused', 'lost', 'again']) {
      await node.down(container);
      await expectFree(container);
    }
    expect((await node.up('lost', 'lost')).code).toBe(0);
    expect(await read('lost')).toBe('data');
    await node.down('lost');
    await expectFree('lost');
  });

  // Must be the last test: another program serves afterwards.
  test('scenario 45: another version takes over below a container, which goes on', async () => {
    await running('kept');
    const started = '{{.State.StartedAt}} {{.State.Pid}}';
    const before = await node.dockerOk('inspect', '-f', started, 'kept');
    const [row] = await node.table();
    expect(await node.daemon.stop()).toBe(0);
    expect(await node.mountCount('kept')).toBe(1);

    const next = join(node.host.directory, 'next');
    await mkdir(next);
    for (const name of ['plugin', 'sentinel', 'lib', 'cli', 'bin', 'package.json']) {
      await cp(join(repository, name), join(next, name), { recursive: true });
    }
    await symlink(join(repository, 'node_modules'), join(next, 'node_modules'));
    const options = [...berthFlags(node.host, { store: etcd.url }), ...flags];
    await using upgraded = node.host.spawn('node', [join(next, 'plugin/main.ts'), ...options], {
      env: { DEBUG: 'berth:*' },
    });
    await waitFor(
      () => upgraded.output().includes('berth serves'),
      20_000,
      'the new version to serve',
    );
    expect((await node.table()).map(({ ticket }) => ticket.token)).toEqual([row?.ticket.token]);
    expect(await read('kept')).toBe('data');
    expect(await node.dockerOk('inspect', '-f', started, 'kept')).toBe(before);
    expect(await node.shell('kept', 'cat /data/file')).toBe('data');
    expect(await node.mountCount('kept')).toBe(1);
    await node.down('kept');
    await expectFree('kept');
    expect(await locks()).toEqual([]);
    await node.dockerOk('volume', 'rm', 'kept');
  });
});
