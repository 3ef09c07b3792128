// Thousands of List and Get calls through a real engine (Docker 20.10).

import { expect, test } from '@jest/globals';
import { engineApi } from '../../support/engine-api.ts';
import { describePlugged, embeddedVariants } from '../../support/plugged-host.ts';
import { openDescriptors, waitFor } from '../../support/processes.ts';

const calls = 2_000;

describePlugged('leaks', { variants: embeddedVariants.slice(0, 1) }, (on) => {
  test('thousands of List and Get calls leave no descriptor open and no ticket behind', async () => {
    const { host, berth, docker, start, proxy, store, left } = on();
    await docker('volume', 'create', '-d', 'berth', 'db');
    await start('user', '-v', 'db:/p');
    using engine = engineApi(host);
    const ask = async (count: number) => {
      for (let i = 0; i < count; i += 10) {
        await Promise.all(
          Array.from({ length: 10 }, async () => {
            await engine.call('GET', '/volumes');
            await engine.call('GET', '/volumes/db');
          }),
        );
      }
    };
    await ask(100);
    const before = await left();
    expect(before).toMatchObject({ mounts: ['db'], locks: ['mount/db'] });
    const records = await store.records();
    const descriptors = await openDescriptors(berth.process.pid);
    proxy.forget();
    await ask(calls);
    expect(proxy.count('List')).toBe(calls);
    expect(proxy.count('Get')).toBeGreaterThanOrEqual(calls);
    expect(proxy.methods()).not.toContain('Mount');
    expect(await left()).toEqual(before);
    expect(await store.records()).toEqual(records);
    // Connections that were just used take a moment to close.
    const isBack = async () => (await openDescriptors(berth.process.pid)) <= descriptors;
    await waitFor(isBack, 5_000, `${descriptors} descriptors`);
  });
});
