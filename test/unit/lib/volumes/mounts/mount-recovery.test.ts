// How mounts get their locks again after a restart, an outage or a failed roll-back. A memory store
// that can be broken; no kernel mounts.

import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { LockManager } from '../../../../../lib/lock/lock-manager.ts';
import { memoryState, memoryStore } from '../../../../../lib/lock/stores/memory/store.ts';
import { LockDriver } from '../../../../../lib/lock/use/lock-driver.ts';
import { UseMount } from '../../../../../lib/lock/use/use.ts';
import { directoryDriver } from '../../../../../lib/volumes/drivers/directory/driver.ts';
import type { VolumeDriver } from '../../../../../lib/volumes/drivers/driver.ts';
import type { MountFence } from '../../../../../lib/volumes/mounts/mount-fence.ts';
import type { MountRow } from '../../../../../lib/volumes/mounts/mount-table.ts';
import { Catalog, mountMarkKey } from '../../../../../lib/volumes/records/catalog.ts';
import type { VolumeRecord } from '../../../../../lib/volumes/volume.ts';
import type { EventLog } from '../../../../../plugin/events/event-log.ts';
import { eventually } from '../../../../support/eventually.ts';
import { FaultyStore } from '../../../../support/faulty-store.ts';
import { hostMounts } from '../../../../support/host-mounts.ts';
import { noFence } from '../../../../support/no-fence.ts';
import { makeTemporaryDirectory } from '../../../../support/temporary-directory.ts';

/** A volume that an earlier process mounted, with its lock, on a store that can be broken. */
async function mountedVolume(change: Partial<MountRow> = {}, fence: MountFence = noFence) {
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
    mountIds: new Map([['id', { count: 1, confirmed: true }]]),
    ...change,
  };
  const catalog = new Catalog(manager.mirror, store);
  const onHost = resources.use(
    await hostMounts({
      ...{ directory: directory.path, locks, catalog, drivers, rows: [row], fence, manager },
      owner: 'h',
    }),
  );
  const owned = resources.move();
  return {
    ...onHost,
    shared,
    store,
    locks,
    drivers,
    token: first.token,
    endSession: () => memoryStore({ shared }).closeSession(first.ticket.session),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

type Mounted = Awaited<ReturnType<typeof mountedVolume>>;

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
  await using volume = await mountedVolume({ mountIds: new Map() });
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

/** Lets another host get the volume, by ending the session of the lock that the mount has. */
async function loseToAnotherHost({ store, shared, endSession }: Mounted): Promise<LockManager> {
  const rival = new LockManager({
    ...{ store: memoryStore({ shared }), host: 'other', owner: 'other', ttlMs: 30_000 },
  });
  const asked = rival.lock([{ name: 'mount/v', mode: 'exclusive' }], {
    ...{ reason: 'Mount', mark: mountMarkKey('v') },
  });
  await eventually(async () => expect(await store.tickets('mount/v')).toHaveLength(2));
  await endSession();
  await asked;
  return rival;
}

describe('a volume that another host has asked for', () => {
  test('is fenced: its users end, then it is unmounted without a last write', async () => {
    const calls: string[] = [];
    const fence: MountFence = {
      ...noFence,
      end: async (volume, mounts) => {
        calls.push(`end ${volume} ${mounts.map(({ ownership }) => ownership()).join()}`);
      },
    };
    await using volume = await mountedVolume({}, fence);
    recordDriver(volume.drivers, calls);
    await volume.recovery.adopt();
    await using _rival = await loseToAnotherHost(volume);
    await eventually(() => expect(kindsOf(volume.events)).toEqual(['adopted', 'lost', 'fenced']));
    expect(calls).toEqual(['end v lost', 'abandon v']);
    expect(volume.table.get('v')).toBeUndefined();
    expect(volume.states.get('v')).toBeUndefined();
  });

  test('stays lost while its users do not end, and the next adoption fences it', async () => {
    let isStuck = true;
    const fence: MountFence = {
      ...noFence,
      end: async () => {
        if (isStuck) throw new Error('the containers do not end');
      },
    };
    await using volume = await mountedVolume({}, fence);
    const calls: string[] = [];
    recordDriver(volume.drivers, calls);
    await volume.recovery.adopt();
    await using _rival = await loseToAnotherHost(volume);
    await eventually(() => expect(volume.states.get('v')?.is).toBe('lost'));
    await volume.recovery.adopt();
    expect(volume.mounts.lockState('v')).toBe('lost');
    expect(calls).toEqual([]);
    isStuck = false;
    await volume.recovery.adopt();
    expect(volume.table.get('v')).toBeUndefined();
    expect(calls).toEqual(['abandon v']);
  });

  test('stays mounted with on-lost=keep', async () => {
    await using volume = await mountedVolume({ onLost: 'keep' });
    await volume.recovery.adopt();
    await using _rival = await loseToAnotherHost(volume);
    await eventually(() => expect(kindsOf(volume.events)).toEqual(['adopted', 'lost']));
    expect(await volume.recovery.adopt()).toBe(true);
    expect(volume.states.get('v')?.is).toBe('lost');
    expect(volume.table.get('v')).toBeDefined();
    expect(kindsOf(volume.events)).toEqual(['adopted', 'lost']);
  });
});

test('an eviction ends the users, unmounts with a last write, and then releases the lock', async () => {
  const calls: string[] = [];
  const fence: MountFence = {
    ...noFence,
    end: async (volume, mounts) => {
      calls.push(`end ${volume} ${mounts.map(({ ownership }) => ownership()).join()}`);
    },
  };
  await using volume = await mountedVolume({}, fence);
  recordDriver(volume.drivers, calls);
  await volume.recovery.adopt();
  await volume.recovery.evict('v', volume.token + 1, 'somebody');
  expect(calls).toEqual([]);
  await volume.recovery.evict('v', volume.token, 'somebody');
  expect(calls).toEqual(['end v evicted', 'unmount v']);
  expect(volume.table.get('v')).toBeUndefined();
  await eventually(() => expect(volume.locks.tickets('v')).toEqual([]));
  expect(kindsOf(volume.events)).toEqual(['adopted', 'evicted', 'fenced']);
});

/** Replaces what needs root by a note of the call. */
function recordDriver(drivers: Map<string, VolumeDriver>, calls: string[]): void {
  const driver = drivers.get('directory');
  if (!driver) throw new Error('there is no driver');
  const note = (what: string) => async (volume: { readonly name: string }) => {
    calls.push(`${what} ${volume.name}`);
  };
  drivers.set('directory', { ...driver, unmount: note('unmount'), abandon: note('abandon') });
}

function kindsOf(events: EventLog): string[] {
  return events.since(0).map(({ kind }) => kind);
}
