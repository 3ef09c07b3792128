// Engines that come and go while their containers run on.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { startHost } from '../../support/host.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { StoreView } from '../../support/store-view.ts';
import { embeddedView } from '../../support/store-view.ts';
import { dockerVersions } from '../../support/tools.ts';
import type { EngineNode } from '../hosts/cluster.ts';
import { startEngineNode } from '../hosts/cluster.ts';

jest.setTimeout(60_000);

for (const docker of dockerVersions) {
  describeWith(['docker'], `live-restore with Docker ${docker}`, () => {
    const stack = new AsyncDisposableStack();
    let node: EngineNode;
    let store: StoreView;
    const ids = new Map<string, string[]>();
    const container = (volume: string) => `c-${volume}`;
    const idsOf = async (volume: string) => {
      const row = (await node.table()).find((each) => each.volume === volume);
      return Object.keys(row?.mountIds ?? {});
    };

    beforeAll(async () => {
      const host = stack.use(await startHost({ docker, engineFlags: ['--live-restore'] }));
      node = stack.use(await startEngineNode(host));
      store = embeddedView(join(host.directory, 'berth/berth.db'));
      for (const volume of ['copied', 'plain', 'again', 'left']) {
        await node.dockerOk('volume', 'create', '-d', 'berth', volume);
        const { code, stderr } = await node.up(container(volume), volume);
        if (code !== 0) throw new Error(stderr);
        ids.set(volume, await idsOf(volume));
      }
      const pids = await node.dockerOk(
        ...['inspect', '-f', '{{.State.Pid}}', container('again'), container('left')],
      );
      await host.killEngine();
      for (const pid of pids.split('\n')) process.kill(Number(pid), 'SIGKILL');
      await host.startEngine();
    });
    afterAll(() => stack.disposeAsync());

    async function expectFree(volume: string): Promise<void> {
      await node.waitUntilUnmounted(volume);
      const isFree = async () => !(await store.locks()).includes(`mount/${volume}`);
      await waitFor(isFree, 5_000, 'its lock to be free');
    }

    // The first one: just after the engine is back.
    test('when the engine crashes, row 8: docker cp leaves a container its volume that has outlived the engine', async () => {
      const file = join(node.host.directory, 'file');
      await writeFile(file, 'copied in');
      for (const name of ['one', 'two']) {
        await node.dockerOk('cp', file, `${container('copied')}:/data/${name}`);
        expect(await node.dockerOk('exec', container('copied'), 'cat', `/data/${name}`)).toBe(
          'copied in',
        );
        expect(await node.mountCount('copied')).toBe(1);
        expect(await store.locks()).toContain('mount/copied');
      }
      expect(await idsOf('copied')).toEqual(ids.get('copied'));
      // Engines up to 20.10.24 send no Unmount any more.
      await node.dockerOk('stop', container('copied'));
      await expectFree('copied');
      await node.dockerOk('start', container('copied'));
      expect(await node.dockerOk('exec', container('copied'), 'cat', '/data/two')).toBe(
        'copied in',
      );
      await node.down(container('copied'));
      await expectFree('copied');
    });

    test('row 8: without a docker cp, the stop unmounts', async () => {
      expect(await node.mountCount('plain')).toBe(1);
      await node.down(container('plain'));
      await expectFree('plain');
    });

    test('row 9: the container died without an engine, and nobody starts it again', async () => {
      await expectFree('left');
    });

    test('row 9: the container died without an engine, and starts again', async () => {
      await node.dockerOk('start', container('again'));
      expect(await node.mountCount('again')).toBe(1);
      await node.dockerOk('stop', container('again'));
      await expectFree('again');
    });
  });
}
