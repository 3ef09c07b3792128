// Mounts that the kernel has and the mount table has not, because the table was lost or damaged:
// taken over with their ticket, or left alone and refused. A memory store that can be broken; the
// kernel's mount table is played.
import { describe, expect, test } from '@jest/globals';
import type { Mount } from '../../../../../lib/linux/mountinfo.ts';
import { LockManager } from '../../../../../lib/lock/lock-manager.ts';
import { memoryState, memoryStore } from '../../../../../lib/lock/stores/memory/store.ts';
import type { KeptLock } from '../../../../../lib/lock/use/kept-lock.ts';
import { LockDriver } from '../../../../../lib/lock/use/lock-driver.ts';
import { UseMount } from '../../../../../lib/lock/use/use.ts';
import { directoryDriver } from '../../../../../lib/volumes/drivers/directory/driver.ts';
import { InUseError, UnavailableError } from '../../../../../lib/volumes/errors.ts';
import { lostId } from '../../../../../lib/volumes/mounts/mount-row.ts';
import { Catalog, mountMarkKey } from '../../../../../lib/volumes/records/catalog.ts';
import { eventually } from '../../../../support/eventually.ts';
import { FaultyStore } from '../../../../support/faulty-store.ts';
import { hostMounts } from '../../../../support/host-mounts.ts';
import { makeTemporaryDirectory } from '../../../../support/temporary-directory.ts';

/** A volume of the directory driver, as the kernel shows it at a mountpoint. */
const bindMount: Mount = {
  ...{ id: 40, parentId: 30, device: '8:1', root: '/volumes/directory/v/data', mountpoint: '/m/v' },
  ...{ options: ['rw'], optionalFields: [], fsType: 'ext4', source: '/dev/sda1', superOptions: [] },
};

const record = {
  ...{ version: 1, name: 'v', driver: 'directory', options: {}, access: 'host', snapshots: [] },
  ...{ createdAt: '2026-01-02T03:04:05Z', createdBy: 'h', token: 1 },
};

/** A start after the table was lost; the process before may have had a lock for a volume `v`. */
async function started({
  isLocked = true,
  isMounted = true,
  stored = JSON.stringify(record),
  shown = bindMount,
} = {}) {
  await using resources = new AsyncDisposableStack();
  const { path } = resources.use(await makeTemporaryDirectory());
  const shared = memoryState();
  const store = new FaultyStore(memoryStore({ shared }));
  const manager = new LockManager({ store, host: 'h', owner: 'h', ttlMs: 30_000 });
  resources.use(manager);
  const locks = new LockDriver(manager, 0);
  const { signal } = new AbortController();
  let before: KeptLock | undefined;
  if (isLocked) {
    before = await locks.acquireWithTTLRefresh(UseMount('v', 'mount'), {
      ...{ signal, mark: mountMarkKey('v'), onChange: () => {} },
    });
  }
  if (stored !== '') {
    const writes = [{ key: 'volumes/v', value: stored }];
    await store.commit({ guards: [], writes, release: [] });
  }
  const calls: string[] = [];
  const note = (what: string) => async () => {
    calls.push(what);
  };
  const driver = {
    ...directoryDriver({ volumeDir: path }),
    ...{ mount: note('mount'), unmount: note('unmount'), abandon: note('abandon') },
  };
  const kernel: Mount[] = isMounted ? [shown] : [];
  const onHost = resources.use(
    await hostMounts({
      ...{
        directory: path,
        locks,
        manager,
        owner: 'h',
        catalog: new Catalog(manager.mirror, store),
      },
      drivers: new Map([[driver.name, driver]]),
      untabled: [{ volume: 'v', mountpoint: '/m/v', isMounted }],
      mountsAt: async () => kernel,
    }),
  );
  const owned = resources.move();
  return {
    ...{ ...onHost, store, locks, before, kernel, calls },
    endSession: () => memoryStore({ shared }).closeSession(before?.ticket.session ?? ''),
    kinds: () => onHost.events.since(0).map(({ kind }) => kind),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

test('a mount is taken over with its ticket, and its uses are unconfirmed', async () => {
  await using host = await started();
  expect(await host.recovery.adopt()).toBe(true);
  expect(host.states.get('v')?.is).toBe('mounted');
  expect(host.mounts.lockState('v')).toBe('held');
  expect(host.table.get('v')).toMatchObject({
    ...{ driver: 'directory', ticket: { token: host.before?.token }, bootId: 'boot' },
    mountMark: host.before?.ticket.nonce,
    mountIds: new Map([[lostId, { count: 1, confirmed: false }]]),
  });
  expect(host.mounts.hasUnconfirmed()).toBe(true);
  expect(host.kinds()).toEqual(['adopted']);
  expect(host.mounts.conditions()).toEqual([]);
  expect(host.calls).toEqual([]);
});

test('the reconciler drops the uses of a mount that was taken over, and the volume is free', async () => {
  await using host = await started();
  await host.recovery.adopt();
  const [row] = host.table.rows();
  expect(row && (await host.mounts.settle(row, [lostId]))).toBe(true);
  expect(host.calls).toEqual(['unmount']);
  expect(host.states.isEmpty).toBe(true);
  await eventually(() => expect(host.locks.tickets('v')).toEqual([]));
});

describe('while the store is away', () => {
  test('a mount waits: it is a condition, and Mount is refused as long', async () => {
    await using host = await started();
    host.store.cutOff();
    expect(await host.recovery.adopt()).toBe(false);
    expect(host.states.get('v')?.is).toBe('found');
    expect(host.states.isEmpty).toBe(false);
    await expect(host.found.refuse('v')).rejects.toThrow(UnavailableError);
    expect(host.mounts.conditions()).toMatchObject([
      {
        severity: 'warning',
        message: expect.stringMatching(/mount of volume v at \/m\/v is not in the/),
      },
    ]);
    host.store.reconnect();
    await eventually(async () => expect(await host.recovery.adopt()).toBe(true));
    expect(host.states.get('v')?.is).toBe('mounted');
    await host.found.refuse('v');
  });
});

type Given = NonNullable<Parameters<typeof started>[0]>;

describe.each<[what: string, given: Given, why: RegExp, isLocked: boolean]>([
  ['without a ticket', { isLocked: false }, /holds no lock on the volume, so another/, false],
  ['without a record', { stored: '' }, /there is no volume of this name/, true],
  ['with a record that can not be read', { stored: '{}' }, /not one that this version of/, true],
  [
    'of a driver that is not here',
    { stored: JSON.stringify({ ...record, driver: 'floppy' }) },
    /the driver floppy is not here/,
    true,
  ],
  [
    'that no driver made',
    { shown: { ...bindMount, root: '/elsewhere' } },
    /none that the driver directory makes/,
    true,
  ],
])('a mount %s', (_what, given, why, isLocked) => {
  test('is left alone, and berth says why and refuses it', async () => {
    await using host = await started(given);
    // The start of the daemon does not wait for it.
    expect(await host.recovery.adopt()).toBe(true);
    expect(await host.recovery.adopt()).toBe(true);
    expect(host.states.get('v')?.is).toBe('found');
    expect(host.table.rows()).toEqual([]);
    expect(host.mounts.conditions()).toMatchObject([
      { severity: 'error', message: expect.stringMatching(why) },
    ]);
    expect(host.events.since(0)).toMatchObject([
      { kind: 'failed', severity: 'error', message: expect.stringMatching(why) },
    ]);
    await expect(host.found.refuse('v')).rejects.toThrow(InUseError);
    await expect(host.found.refuse('v')).rejects.toThrow(/berth doctor --fix/);
    expect(host.calls).toEqual([]);
    // A lock that is there is kept: somebody may use the volume under it.
    expect(host.found.lock('v')?.state).toBe(isLocked ? 'held' : undefined);
  });

  test('is forgotten, and its lock released, when somebody has unmounted it', async () => {
    await using host = await started(given);
    await host.recovery.adopt();
    host.kernel.pop();
    await host.recovery.adopt();
    expect(host.states.isEmpty).toBe(true);
    expect(host.mounts.conditions()).toEqual([]);
    await host.found.refuse('v');
    await eventually(() => expect(host.locks.tickets('v')).toEqual([]));
  });
});

describe('a volume that only an unreadable part of the table names', () => {
  test('is taken over if its ticket stands: containers may have mounts that this process does not see', async () => {
    await using host = await started({ isMounted: false });
    expect(await host.recovery.adopt()).toBe(true);
    expect(host.states.get('v')?.is).toBe('mounted');
    expect([...(host.table.get('v')?.mountIds.keys() ?? [])]).toEqual([lostId]);
  });

  test('is forgotten if there is no ticket', async () => {
    await using host = await started({ isMounted: false, isLocked: false });
    await expect(host.found.refuse('v')).rejects.toThrow(UnavailableError);
    expect(await host.recovery.adopt()).toBe(true);
    expect(host.states.isEmpty).toBe(true);
    await host.found.refuse('v');
  });
});

test('a mount that was taken over and loses its lock is re-acquired like any other', async () => {
  await using host = await started();
  await host.recovery.adopt();
  await host.endSession();
  await eventually(() => expect(host.kinds()).toEqual(['adopted', 'relocked']));
  expect(host.mounts.lockState('v')).toBe('held');
});
