// Many containers and many requests at once leave nothing behind: Docker 26.1 with etcd.
import { expect, test } from '@jest/globals';
import { engineApi } from '../../support/engine-api.ts';
import { describePlugged, nothing } from '../../support/plugged-host.ts';
import { openDescriptors, waitFor } from '../../support/processes.ts';

const count = 50;
const requests = 10_000;

describePlugged('load', { variants: [{ docker: '26.1', store: 'etcd' }] }, (on) => {
  test('scenario 41: 50 containers, each with a common and an own volume, start and stop at once', async () => {
    const { host, docker, mounted, store, left, call } = on();
    const numbers = Array.from({ length: count }, (_, i) => `${i}`);
    const volumes = ['all', ...numbers.map((number) => `own-${number}`)].sort();
    await Promise.all(volumes.map((Name) => call('Create', { Name, Opts: null })));
    using engine = engineApi(host);
    const eachContainer = (work: (name: string, number: string) => Promise<unknown>) =>
      Promise.all(numbers.map((number) => work(`c-${number}`, number)));
    await eachContainer((name, number) =>
      engine.call('POST', `/containers/create?name=${name}`, {
        Image: 'busybox',
        Cmd: ['sleep', '1000'],
        StopTimeout: 0,
        HostConfig: { Binds: ['all:/all', `own-${number}:/own`], NetworkMode: 'none' },
      }),
    );
    await eachContainer((name) => engine.call('POST', `/containers/${name}/start`));
    expect(await mounted()).toEqual(volumes);
    expect(await store.locks()).toHaveLength(volumes.length);
    await eachContainer((name) => engine.call('DELETE', `/containers/${name}?force=1`));
    const isFree = async () => (await mounted()).length + (await store.locks()).length === 0;
    await waitFor(isFree, 10_000, 'all volumes to be unmounted');
    await docker('volume', 'rm', ...volumes);
    expect(await left()).toEqual(nothing);
  });

  test('scenario 41: 10,000 requests leave no descriptor, lease or lock behind', async () => {
    const { berth, call, left, store } = on();
    for (const Name of ['v1', 'v2', 'v3', 'v4']) await call('Create', { Name, Opts: null });
    const turn = ['Mount', ...Array(24).fill(['Get', 'List']).flat(), 'Unmount'];
    // Each of the ten callers has its own mount ID and shares its volume with others.
    const ask = (turns: number) =>
      Promise.all(
        Array.from({ length: 10 }, async (_, caller) => {
          const body = { Name: ['v1', 'v2', 'v3', 'v4'][caller % 4], ID: `${caller}`.repeat(64) };
          for (let i = 0; i < turns; i++) {
            for (const method of turn) expect((await call(method, body)).status).toBe(200);
          }
        }),
      );
    await ask(1);
    const records = await store.records();
    const descriptors = await openDescriptors(berth.process.pid);
    await ask(requests / 10 / turn.length);
    expect(await left()).toMatchObject({ mounts: [], locks: [] });
    expect(await store.records()).toEqual(records);
    const isBack = async () => (await openDescriptors(berth.process.pid)) <= descriptors;
    await waitFor(isBack, 5_000, `${descriptors} descriptors`);
  });
});
