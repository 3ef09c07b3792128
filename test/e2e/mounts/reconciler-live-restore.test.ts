// Engines with live-restore are killed and restarted while their containers run on. Both versions.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startHost } from '../../support/host.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { StoreView } from '../../support/store-view.ts';
import { embeddedView } from '../../support/store-view.ts';
import { dockerVersions } from '../../support/tools.ts';
import type { EngineNode } from '../hosts/cluster.ts';
import { startEngineNode } from '../hosts/cluster.ts';

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
      await waitFor(isFree, 5_000, 'the lock to be released');
    }

    // Must be the first test, just after the engine has started again.
    test('when the engine crashes, row 8: a container that outlived its engine keeps its volume through docker cp', async () => {
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
      // Engines up to 20.10.24 send no Unmount here.
      await node.dockerOk('stop', container('copied'));
      await expectFree('copied');
      await node.dockerOk('start', container('copied'));
      expect(await node.dockerOk('exec', container('copied'), 'cat', '/data/two')).toBe(
        'copied in',
      );
      await node.down(container('copied'));
      await expectFree('copied');
    });

    test("row 8: without a docker cp, the container's stop unmounts", async () => {
      expect(await node.mountCount('plain')).toBe(1);
      await node.down(container('plain'));
      await expectFree('plain');
    });

    test('row 9: a container that died without its engine and does not start again loses its mount', async () => {
      await expectFree('left');
    });

    test('row 9: a container that died without its engine gets its volume again when it starts', async () => {
      await node.dockerOk('start', container('again'));
      expect(await node.mountCount('again')).toBe(1);
      await node.dockerOk('stop', container('again'));
      await expectFree('again');
    });
  });
}
