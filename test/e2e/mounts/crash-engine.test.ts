// An engine or the daemon is killed under containers, or an Unmount fails; the rows are those of
// docs/mount-accounting.md. Docker 20.10 with etcd and 26.1 with the embedded store, in real time.

import { spawn } from 'node:child_process';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Etcd } from '../../support/etcd-server.ts';
import { startEtcd } from '../../support/etcd-server.ts';
import { startHost } from '../../support/host.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { StoreView } from '../../support/store-view.ts';
import { embeddedView, etcdView } from '../../support/store-view.ts';
import type { DockerVersion } from '../../support/tools.ts';
import { dockerTools } from '../../support/tools.ts';
import type { EngineNode } from '../hosts/cluster.ts';
import { startEngineNode } from '../hosts/cluster.ts';

const variants: readonly [DockerVersion, 'etcd' | 'embedded'][] = [
  ['20.10', 'etcd'],
  ['26.1', 'embedded'],
];

for (const [docker, kind] of variants) {
  describeWith(['docker', 'etcd'], `crashes with Docker ${docker}, ${kind} store`, () => {
    const stack = new AsyncDisposableStack();
    let node: EngineNode;
    let store: StoreView;
    let etcd: Etcd | undefined;

    beforeAll(async () => {
      const host = stack.use(await startHost({ docker, name: 'crash' }));
      etcd = kind === 'etcd' ? stack.use(await startEtcd({ in: host })) : undefined;
      node = stack.use(
        await startEngineNode(host, {
          flags: ['--reconcile-interval', '1s'],
          ...(etcd && { store: etcd.url }),
        }),
      );
      store = etcd ? etcdView(etcd) : embeddedView(join(host.directory, 'berth/berth.db'));
    });
    afterAll(() => stack.disposeAsync());

    const writeIn = (container: string, text: string) =>
      node.dockerOk('exec', container, 'sh', '-c', `echo ${text} >> /data/file; cat /data/file`);

    async function running(volume: string): Promise<string> {
      await node.dockerOk('volume', 'create', '-d', 'berth', volume);
      const container = `c-${volume}`;
      const { code, stderr } = await node.up(container, volume);
      if (code !== 0) throw new Error(stderr);
      await writeIn(container, 'first');
      return container;
    }
    async function expectFree(volume: string, limitMs?: number): Promise<void> {
      await node.waitUntilUnmounted(volume, limitMs);
      await waitFor(
        async () => (await store.locks()).length === 0,
        5_000,
        'the lock to be released',
      );
    }

    test('when the engine crashes, row 5, scenario 37: its container starts again, and its stop unmounts', async () => {
      const container = await running('restarted');
      await node.host.killEngine();
      await node.host.startEngine();
      await node.dockerOk('start', container);
      expect(await writeIn(container, 'second')).toBe('first\nsecond');
      expect(await node.mountCount('restarted')).toBe(1);
      expect(await store.locks()).toEqual(['mount/restarted']);
      await node.dockerOk('stop', container);
      await expectFree('restarted');
      await node.dockerOk('rm', container);
      await node.dockerOk('volume', 'rm', 'restarted');
    });

    test('row 6, scenario 37: after an engine crash, removing the container releases the volume', async () => {
      const container = await running('forgotten');
      await node.host.killEngine();
      await node.host.startEngine();
      await node.dockerOk('rm', '-f', container);
      await expectFree('forgotten', 15_000);
      await node.dockerOk('volume', 'rm', 'forgotten');
      expect(await node.daemon.berthOk('events', '--volume', 'forgotten')).toMatch(
        /info +forgotten {2}no container uses it, but the engine never sent the Unmount of \w{12}: unm/,
      );
    });

    test('row 7: an engine that stops in order unmounts, and the container starts again later', async () => {
      const container = await running('orderly');
      await node.host.killEngine('SIGTERM');
      await expectFree('orderly');
      await node.host.startEngine();
      await node.dockerOk('start', container);
      expect(await writeIn(container, 'second')).toBe('first\nsecond');
      await node.dockerOk('rm', '-f', container);
      await expectFree('orderly');
    });

    test('row 4, scenario 39: an Unmount fails; the container starts again, and its last stop unmounts', async () => {
      const container = await running('busy');
      const id = async () => Object.keys((await node.table())[0]?.mountIds ?? {});
      const first = await id();
      const occupy = () =>
        node.host.spawn('sh', [
          '-c',
          `cd ${node.mountpoint('busy')} && echo here && exec sleep 1000`,
        ]);
      const isThere = (it: { output(): string }) => () => it.output().includes('here');
      {
        await using occupier = occupy();
        await waitFor(isThere(occupier), 5_000, 'a process to enter the mount');
        await node.dockerOk('stop', container);
        expect(await node.mountCount('busy')).toBe(1);
        expect(await store.locks()).toEqual(['mount/busy']);
        await node.dockerOk('start', container);
        expect(await id()).toEqual(first);
      }
      expect(await writeIn(container, 'second')).toBe('first\nsecond');
      expect(await node.mountCount('busy')).toBe(1);
      await node.dockerOk('stop', container);
      await expectFree('busy');
      await node.dockerOk('rm', container);
    });

    test('rows 2 and 3, scenario 38: a running container keeps its data through docker cp, even without the store', async () => {
      const container = await running('copied');
      const file = join(node.host.directory, 'file');
      await writeFile(file, 'copied in');
      await node.dockerOk('cp', file, `${container}:/data/in`);
      expect(await writeIn(container, 'second')).toBe('first\nsecond');
      expect(await node.mountCount('copied')).toBe(1);

      // From here on, neither the storage nor the store is reachable.
      const storage = join(node.host.directory, 'volumes/directory/copied');
      await rename(storage, `${storage}.away`);
      await etcd?.kill();
      await node.dockerOk('cp', `${container}:/data/in`, `${file}.out`);
      expect(await writeIn(container, 'third')).toBe('first\nsecond\nthird');
      await etcd?.restart();
      await rename(`${storage}.away`, storage);

      expect(await node.mountCount('copied')).toBe(1);
      await node.dockerOk('stop', container);
      await expectFree('copied');
      await node.dockerOk('rm', container);
    });

    test('docker cp from a stopped container may take longer than the limit for unused mounts', async () => {
      const container = await running('dead');
      const fill = 'dd if=/dev/zero of=/data/big bs=1M count=32; ls /data';
      await node.dockerOk('exec', container, 'sh', '-c', fill);
      await node.dockerOk('stop', container);
      await expectFree('dead');
      const copying = spawn(dockerTools(docker).docker, ['cp', `${container}:/data/big`, '-'], {
        env: { DOCKER_HOST: `unix://${node.host.dockerSocket}` },
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      await waitFor(async () => (await node.mountCount('dead')) === 1, 5_000, 'the copy to begin');
      // The copy is not read for more than three intervals.
      await delay(4_500);
      expect(await node.mountCount('dead')).toBe(1);
      expect((await buffer(copying.stdout)).length).toBeGreaterThan(32 * 2 ** 20);
      await expectFree('dead');
      await node.dockerOk('rm', container);
    });

    test('when the plugin restarts, row 10, scenario 40: the container goes on, and its stop unmounts once', async () => {
      const container = await running('outlived');
      await node.daemon.kill();
      expect(await writeIn(container, 'second')).toBe('first\nsecond');
      await node.daemon.start();
      expect(await writeIn(container, 'third')).toBe('first\nsecond\nthird');
      expect(await node.mountCount('outlived')).toBe(1);
      // A docker cp after the restart mounts and unmounts with the ID of the running container.
      await node.dockerOk('cp', `${container}:/data/file`, join(node.host.directory, 'outlived'));
      expect(await writeIn(container, 'fourth')).toContain('fourth');
      expect(await node.mountCount('outlived')).toBe(1);
      expect(await store.locks()).toEqual(['mount/outlived']);
      await node.dockerOk('stop', container);
      await expectFree('outlived');
      await node.dockerOk('start', container);
      expect(await node.mountCount('outlived')).toBe(1);
      await node.dockerOk('rm', '-f', container);
      await expectFree('outlived');
    });

    test('defect B5, when the engine crashes: together with the daemon, removing the container frees the volume', async () => {
      const container = await running('orphaned');
      await node.daemon.kill();
      await node.host.killEngine();
      await node.daemon.start();
      expect(await node.mountCount('orphaned')).toBe(1);
      await node.host.startEngine();
      await node.dockerOk('rm', '-f', container);
      await expectFree('orphaned', 20_000);
    });
  });
}
