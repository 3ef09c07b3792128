// The calls of a Mount to the store: counted, because each is a round trip that delays a
// container's start. A memory store that counts.
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { LockManager } from '../../../../../lib/lock/lock-manager.ts';
import { memoryStore } from '../../../../../lib/lock/stores/memory/store.ts';
import { LockDriver } from '../../../../../lib/lock/use/lock-driver.ts';
import { directoryDriver } from '../../../../../lib/volumes/drivers/directory/driver.ts';
import { LockedVolumes } from '../../../../../lib/volumes/operations/locked-volumes.ts';
import { Volumes } from '../../../../../lib/volumes/operations/volumes.ts';
import {
  Catalog,
  recordDeletion,
  recordWrite,
} from '../../../../../lib/volumes/records/catalog.ts';
import { FaultyStore } from '../../../../support/faulty-store.ts';
import { hostMounts } from '../../../../support/host-mounts.ts';
import { makeTemporaryDirectory } from '../../../../support/temporary-directory.ts';

const context = { signal: new AbortController().signal };

let resources: AsyncDisposableStack;
let store: FaultyStore;
let catalog: Catalog;
let volumes: LockedVolumes;

beforeEach(async () => {
  resources = new AsyncDisposableStack();
  const { path } = resources.use(await makeTemporaryDirectory());
  store = new FaultyStore(memoryStore());
  const manager = new LockManager({ store, host: 'n1', owner: 'n1', ttlMs: 30_000 });
  resources.use(manager);
  const locks = new LockDriver(manager, 60_000);
  // Mounting needs root and is not counted.
  const nothing = async () => {};
  const driver = { ...directoryDriver({ volumeDir: path }), mount: nothing, unmount: nothing };
  const drivers = new Map([[driver.name, driver]]);
  catalog = new Catalog(manager.mirror, store);
  const onHost = await hostMounts({ directory: path, locks, catalog, drivers });
  volumes = new LockedVolumes({
    ...{ ...onHost, locks, catalog, mirror: manager.mirror },
    volumes: new Volumes({
      catalog,
      drivers,
      host: 'n1',
      mounts: onHost.mounts,
      clock: onHost.clock,
    }),
    defaultDriver: driver.name,
    lockTimeoutMs: 60_000,
  });
  await manager.mirror.firstReset;
  await volumes.create({ name: 'db', options: {} }, context);
  store.takeCalls();
});

afterEach(() => resources.disposeAsync());

test('a first Mount calls the store once, and its Unmount once', async () => {
  await volumes.mount('db', 'id', context);
  expect(store.takeCalls()).toEqual(['enqueue']);
  await volumes.unmount('db', 'id', context);
  expect(store.takeCalls()).toEqual(['remove']);
});

test('a Mount whose answer was lost calls the store once more', async () => {
  store.fail('enqueue', 'lost reply');
  await volumes.mount('db', 'id', context);
  expect(store.takeCalls()).toEqual(['enqueue', 'enqueue']);
});

test('a Mount is refused when the volume was removed before the grant', async () => {
  const entry = await catalog.read('db');
  const writes = recordDeletion('db', entry?.revision ?? 0);
  // Without the mirror, which gets the event only after the Mount has begun.
  const committing = store.commit({ guards: [], writes, release: [] });
  const mounting = volumes.mount('db', 'id', context);
  await expect(mounting).rejects.toThrow('no such volume: db');
  await committing;
  expect(store.takeCalls()).toContain('enqueue');
  expect(await store.tickets('mount/db')).toEqual([]);
});

test('a Mount is refused when the volume has got other rules before the grant', async () => {
  const entry = await catalog.read('db');
  if (!entry) throw new Error('there is no volume');
  const other = recordWrite({ ...entry.record, access: 'shared', token: 99 }, entry.revision);
  const committing = store.commit({ guards: [], writes: [other], release: [] });
  await expect(volumes.mount('db', 'id', context)).rejects.toThrow(
    'volume db was removed and created again while this Mount waited; try again',
  );
  await committing;
  expect(await store.tickets('mount/db')).toEqual([]);
});
