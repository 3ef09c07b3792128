// How mounts get their locks again after a restart, an outage or a failed roll-back. A memory store
// that can be broken; no kernel mounts.

import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { LockManager } from '../../../../../lib/lock/lock-manager.ts';
import { memoryState, memoryStore } from '../../../../../lib/lock/stores/memory/store.ts';
import { LockDriver } from '../../../../../lib/lock/use/lock-driver.ts';
import { UseMount } from '../../../../../lib/lock/use/use.ts';
import { directoryDriver } from '../../../../../lib/volumes/drivers/directory/driver.ts';
import type { VolumeDriver } from '../../../../../lib/volumes/drivers/driver.ts';
import type { MountRow } from '../../../../../lib/volumes/mounts/mount-table.ts';
import { Catalog, mountMarkKey } from '../../../../../lib/volumes/records/catalog.ts';
import type { VolumeRecord } from '../../../../../lib/volumes/volume.ts';
import { eventually } from '../../../../support/eventually.ts';
import { FaultyStore } from '../../../../support/faulty-store.ts';
import { hostMounts } from '../../../../support/host-mounts.ts';
import { makeTemporaryDirectory } from '../../../../support/temporary-directory.ts';

/** A volume that an earlier process mounted, with its lock, on a store that can be broken. */
async function mountedVolume(change: Partial<MountRow> = {}) {
  await using resources = new AsyncDisposableStack();
  const directory = resources.use(await makeTemporaryDirectory());
  const shared = memoryState();
  const store = new FaultyStore(memoryStore({ shared }));
  const manager = new LockManager({ store, host: 'h', owner: 'h', ttlMs: 30_000 });
  resources.use(manager);
  const locks = new LockDriver(manager, 0);
  const driver = directoryDriver({ volumeDir: directory.path });
  const drivers = new Map([[driver.name, driver]]);
  const { signal } = new AbortController();
  const first = await locks.acquireWithTTLRefresh(UseMount('v', 'mount'), {
    signal,
    mark: mountMarkKey('v'),
    onChange: () => {},
  });
  const row: MountRow = {
    volume: 'v',
    driver: driver.name,
    options: {},
    access: 'host',
    failover: 'auto',
    onLost: 'pause',
    mountpoint: join(directory.path, 'mounts/v'),
    ticket: first.ticket,
    mountMark: first.ticket.nonce,
    bootId: 'boot',
    mountIds: { id: { count: 1, confirmed: true } },
    ...change,
  };
  const catalog = new Catalog(manager.mirror, store);
  const onHost = await hostMounts({
    ...{ directory: directory.path, locks, catalog, drivers, rows: [row] },
  });
  const owned = resources.move();
  return {
    ...onHost,
    store,
    locks,
    drivers,
    token: first.token,
    endSession: () => memoryStore({ shared }).closeSession(first.ticket.session),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

test('a mount that loses its lock just before the store fails gets it again at the next adoption', async () => {
  await using volume = await mountedVolume();
  const { store, table, mounts, recovery, token, endSession } = volume;
  expect(await recovery.adopt()).toBe(true);
  expect(mounts.lockState('v')).toBe('held');

  store.takeCalls();
  store.fail('tryEnqueue', 'lost request');
  await endSession();
  await eventually(() => expect(store.takeCalls()).toContain('tryEnqueue'));
  expect(mounts.lockState('v')).toBe('unproven');

  expect(await recovery.adopt()).toBe(true);
  expect(mounts.lockState('v')).toBe('held');
  expect(table.get('v')?.ticket.token).toBeGreaterThan(token);
});

test('a mount keeps its lock through a restart while the volume is disabled', async () => {
  await using volume = await mountedVolume();
  const { locks, table, mounts, recovery, token } = volume;
  await locks.disable('v', {});
  expect(await recovery.adopt()).toBe(true);
  expect(mounts.lockState('v')).toBe('held');
  expect(table.get('v')?.ticket.token).toBe(token);
});

test('a mount that loses its lock while its volume is disabled gets it again once it is enabled', async () => {
  await using volume = await mountedVolume();
  const { store, locks, table, mounts, recovery, token, endSession } = volume;
  expect(await recovery.adopt()).toBe(true);
  await locks.disable('v', {});
  store.takeCalls();
  await endSession();
  await eventually(() => expect(store.takeCalls()).toContain('tryEnqueue'));
  // The daemon's start does not wait for this.
  expect(await recovery.adopt()).toBe(true);
  expect(mounts.lockState('v')).toBe('unproven');

  await locks.enable('v');
  expect(await recovery.adopt()).toBe(true);
  expect(mounts.lockState('v')).toBe('held');
  expect(table.get('v')?.ticket.token).toBeGreaterThan(token);
});

test('a failed mount whose roll-back failed, too, is rolled back by the next adoption', async () => {
  await using volume = await mountedVolume();
  const { locks, table, drivers, mounts, recovery } = volume;
  const broken = breakDriver(drivers);
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
  await recovery.adopt();
  expect(table.get('w')).toBeDefined();

  broken.mend();
  await recovery.adopt();
  expect(table.get('w')).toBeUndefined();
});

/** Makes the driver fail until `mend` is called. */
function breakDriver(drivers: Map<string, VolumeDriver>): { mend(): void } {
  const driver = drivers.get('directory');
  if (!driver) throw new Error('there is no driver');
  const refuse = async () => {
    throw new Error('its storage is away');
  };
  drivers.set('directory', { ...driver, mount: refuse, unmount: refuse, abandon: refuse });
  return { mend: () => drivers.set('directory', driver) };
}

test('a half-made mount is rolled back even if the engine restarts meanwhile', async () => {
  await using volume = await mountedVolume({ mountIds: {} });
  const { table, drivers, mounts, recovery, locks } = volume;
  const broken = breakDriver(drivers);
  await recovery.adopt();
  await mounts.unconfirm(['v']);
  broken.mend();
  await recovery.adopt();
  expect(table.get('v')).toBeUndefined();
  await eventually(() => expect(locks.tickets('v')).toEqual([]));
});

test('a mount of an earlier boot that is used again is no longer rolled back', async () => {
  await using volume = await mountedVolume({ bootId: 'before' });
  const { table, drivers, mounts, recovery, states } = volume;
  const broken = breakDriver(drivers);
  await recovery.adopt();
  expect(states.get('v')?.is).toBe('interrupted');
  broken.mend();
  const [row] = table.rows();
  const driver = drivers.get('directory');
  if (!row || !driver) throw new Error('there is no mount');
  // Mounting needs root and is not under test here.
  drivers.set('directory', { ...driver, mount: async () => {} });
  await mounts.use(row, 'id', { signal: new AbortController().signal });
  expect(states.get('v')?.is).toBe('mounted');
  await recovery.adopt();
  expect(table.get('v')).toMatchObject({ bootId: 'boot' });
});
