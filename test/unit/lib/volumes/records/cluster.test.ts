// The identity of the cluster in the store. A memory store that can be broken, and SQLite in a real
// file; no time.

import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { StoreMirror } from '../../../../../lib/lock/engine/store-mirror.ts';
import { StoreUnavailableError } from '../../../../../lib/lock/errors.ts';
import { embeddedStore } from '../../../../../lib/lock/stores/embedded/store.ts';
import { memoryState, memoryStore } from '../../../../../lib/lock/stores/memory/store.ts';
import type { TicketStore } from '../../../../../lib/lock/stores/ticket-store.ts';
import { UnavailableError } from '../../../../../lib/volumes/errors.ts';
import { Cluster, clusterKey } from '../../../../../lib/volumes/records/cluster.ts';
import { FaultyStore } from '../../../../support/faulty-store.ts';
import { makeTemporaryDirectory } from '../../../../support/temporary-directory.ts';

const uuid = /^[0-9a-f]{8}-/;

async function on(store: TicketStore): Promise<Cluster> {
  const mirror = new StoreMirror(store);
  await mirror.firstReset;
  return new Cluster({ mirror, store });
}

test('hosts that ask for the ID at once, later, and again get one ID', async () => {
  const shared = memoryState();
  const hosts = await Promise.all([1, 2, 3].map(() => on(memoryStore({ shared }))));
  const ids = await Promise.all(hosts.flatMap((host) => [host.id(), host.id()]));
  const later = await on(memoryStore({ shared }));
  expect([...new Set([...ids, await later.id()])]).toEqual([expect.stringMatching(uuid)]);
});

test('the ID is the same after a write whose answer was lost', async () => {
  const store = new FaultyStore(memoryStore());
  const host = await on(store);
  store.fail('commit', 'lost reply');
  await expect(host.id()).rejects.toThrow(StoreUnavailableError);
  const id = await host.id();
  expect(await (await on(store)).id()).toBe(id);
});

test('the ID outlives the process with the embedded store', async () => {
  await using directory = await makeTemporaryDirectory();
  const path = join(directory.path, 'berth.db');
  const ids: string[] = [];
  for (const _ of [1, 2]) {
    await using store = await embeddedStore({ path });
    ids.push(await (await on(store)).id());
  }
  expect(ids[1]).toBe(ids[0]);
});

test.each([
  ['a field of a later release is ignored', { version: 1, format: 7 }, true],
  ['another version is refused', { version: 2 }, false],
])('%s', async (_, fields, isRead) => {
  const store = memoryStore();
  const id = '0b0e7f5e-4d1c-4d65-9d5f-3a1f6f7f0a11';
  const value = JSON.stringify({ ...fields, id });
  await store.commit({ guards: [], writes: [{ key: clusterKey, value }], release: [] });
  const asked = (await on(store)).id();
  if (isRead) await expect(asked).resolves.toBe(id);
  else await expect(asked).rejects.toThrow(UnavailableError);
});
