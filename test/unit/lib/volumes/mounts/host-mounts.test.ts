import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { LockManager } from '../../../../../lib/lock/lock-manager.ts';
import { memoryState, memoryStore } from '../../../../../lib/lock/stores/memory/store.ts';
import { LockDriver } from '../../../../../lib/lock/use/lock-driver.ts';
import { UseMount } from '../../../../../lib/lock/use/use.ts';
import { directoryDriver } from '../../../../../lib/volumes/drivers/directory/driver.ts';
import { HostMounts } from '../../../../../lib/volumes/mounts/host-mounts.ts';
import { KeyedQueue } from '../../../../../lib/volumes/mounts/keyed-queue.ts';
import { MountTable } from '../../../../../lib/volumes/mounts/mount-table.ts';
import { mountLocks } from '../../../../../lib/volumes/operations/locked-volumes.ts';
import { Catalog, tenureKey } from '../../../../../lib/volumes/records/catalog.ts';
import type { VolumeRecord } from '../../../../../lib/volumes/volume.ts';
import { EventLog } from '../../../../../plugin/events/event-log.ts';
import { eventually } from '../../../../support/eventually.ts';
import { FaultyStore } from '../../../../support/faulty-store.ts';
import { noFence } from '../../../../support/no-fence.ts';
import { makeTemporaryDirectory } from '../../../../support/temporary-directory.ts';

/** A volume that an earlier process mounted, with its lock, on a store that can be broken. */
async function mountedVolume() {
  await using resources = new AsyncDisposableStack();
  const directory = resources.use(await makeTemporaryDirectory());
  const shared = memoryState();
  const store = new FaultyStore(memoryStore({ shared }));
  const manager = new LockManager({ store, host: 'h', owner: 'h', ttlMs: 30_000 });
  resources.use(manager);
  const locks = new LockDriver(manager, 0);
  const table = await MountTable.open(join(directory.path, 'mounts.json'));
  const driver = directoryDriver({ volumeDir: directory.path });
  const drivers = new Map([[driver.name, driver]]);
  const mounts = new HostMounts({
    table,
    drivers,
    queue: new KeyedQueue(),
    locks: mountLocks(locks, new Catalog(manager.mirror, store)),
    mountDir: join(directory.path, 'mounts'),
    bootId: 'boot',
    guard: noFence,
    events: new EventLog(),
  });
  const { signal } = new AbortController();
  const first = await locks.acquireWithTTLRefresh(UseMount('v', 'mount'), {
    signal,
    mark: tenureKey('v'),
    onChange: () => {},
  });
  await table.put({
    volume: 'v',
    driver: driver.name,
    options: {},
    access: 'host',
    failover: 'auto',
    onLost: 'pause',
    mountpoint: mounts.mountpoint('v'),
    ticket: first.ticket,
    tenure: first.ticket.nonce,
    bootId: 'boot',
    mountIds: { id: { count: 1, confirmed: true } },
  });
  const owned = resources.move();
  return {
    store,
    locks,
    table,
    drivers,
    mounts,
    token: first.token,
    endSession: () => memoryStore({ shared }).closeSession(first.ticket.session),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

test('a mount whose lock is lost just as the store goes away gets it back at the next adoption', async () => {
  await using volume = await mountedVolume();
  const { store, table, mounts, token, endSession } = volume;
  expect(await mounts.adopt()).toBe(true);
  expect(mounts.lockState('v')).toBe('held');

  store.takeCalls();
  store.fail('tryEnqueue', 'lost request');
  await endSession();
  await eventually(() => expect(store.takeCalls()).toContain('tryEnqueue'));
  expect(mounts.lockState('v')).toBe('unproven');

  expect(await mounts.adopt()).toBe(true);
  expect(mounts.lockState('v')).toBe('held');
  expect(table.get('v')?.ticket.token).toBeGreaterThan(token);
});

test('a mount keeps its lock through a restart while the volume is disabled', async () => {
  await using volume = await mountedVolume();
  const { locks, table, mounts, token } = volume;
  await locks.disable('v', {});
  expect(await mounts.adopt()).toBe(true);
  expect(mounts.lockState('v')).toBe('held');
  expect(table.get('v')?.ticket.token).toBe(token);
});

test('a mount whose lock is lost while its volume is disabled gets it back when it is enabled', async () => {
  await using volume = await mountedVolume();
  const { store, locks, table, mounts, token, endSession } = volume;
  expect(await mounts.adopt()).toBe(true);
  await locks.disable('v', {});
  store.takeCalls();
  await endSession();
  await eventually(() => expect(store.takeCalls()).toContain('tryEnqueue'));
  // Nothing that the daemon's start would have to wait for.
  expect(await mounts.adopt()).toBe(true);
  expect(mounts.lockState('v')).toBe('unproven');

  await locks.enable('v');
  expect(await mounts.adopt()).toBe(true);
  expect(mounts.lockState('v')).toBe('held');
  expect(table.get('v')?.ticket.token).toBeGreaterThan(token);
});

test('a mount that fails and can not be undone at once is undone by the next adoption', async () => {
  await using volume = await mountedVolume();
  const { locks, table, drivers, mounts } = volume;
  const driver = drivers.get('directory');
  if (!driver) throw new Error('there is no driver');
  const refuse = async () => {
    throw new Error('its storage is away');
  };
  drivers.set('directory', { ...driver, mount: refuse, unmount: refuse, abandon: refuse });
  const { signal } = new AbortController();
  const record: VolumeRecord = {
    version: 1,
    name: 'w',
    driver: 'directory',
    options: {},
    access: 'host',
    failover: 'auto',
    onLost: 'pause',
    createdAt: '2026-01-02T03:04:05Z',
    createdBy: 'h',
    snapshots: [],
    token: 1,
  };
  const lock = await locks.acquireWithTTLRefresh(UseMount('w', 'mount'), {
    signal,
    onChange: () => {},
  });
  const failed = mounts.mount(record, 'id', lock, { signal });
  await expect(failed).rejects.toThrow('its storage is away');
  await lock.unlock();
  await mounts.adopt();
  expect(table.get('w')).toBeDefined();

  drivers.set('directory', driver);
  await mounts.adopt();
  expect(table.get('w')).toBeUndefined();
});
