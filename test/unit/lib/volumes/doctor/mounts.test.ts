// The doctor's check of locks and mounts on one host, with a memory store and no kernel mounts.

import { expect, test } from '@jest/globals';
import { LockManager } from '../../../../../lib/lock/lock-manager.ts';
import { memoryState, memoryStore } from '../../../../../lib/lock/stores/memory/store.ts';
import { LockDriver } from '../../../../../lib/lock/use/lock-driver.ts';
import { UseMount } from '../../../../../lib/lock/use/use.ts';
import { MountDoctor } from '../../../../../lib/volumes/doctor/mounts.ts';
import { directoryDriver } from '../../../../../lib/volumes/drivers/directory/driver.ts';
import { Catalog } from '../../../../../lib/volumes/records/catalog.ts';
import { eventually } from '../../../../support/eventually.ts';
import { hostMounts } from '../../../../support/host-mounts.ts';
import { makeTemporaryDirectory } from '../../../../support/temporary-directory.ts';

const { signal } = new AbortController();
const fix = { fix: true, deletions: new Set<string>(), signal };

/** Makes the doctor of host `h`; `manager` has its locks, `earlier` those of a previous daemon. */
async function hospital() {
  await using resources = new AsyncDisposableStack();
  const directory = resources.use(await makeTemporaryDirectory());
  const shared = memoryState();
  const store = memoryStore({ shared });
  const of = (host: string) =>
    resources.use(
      new LockManager({ store: memoryStore({ shared }), host, owner: host, ttlMs: 30_000 }),
    );
  const [manager, earlier, other] = [of('h'), of('h'), of('other')];
  const locks = new LockDriver(manager, 0);
  const driver = directoryDriver({ volumeDir: directory.path });
  const drivers = new Map([[driver.name, driver]]);
  const catalog = new Catalog(manager.mirror, store);
  const onHost = resources.use(
    await hostMounts({
      ...{ directory: directory.path, locks, catalog, drivers, manager, owner: 'h' },
    }),
  );
  const doctor = new MountDoctor({
    ...{ ...onHost, catalog, drivers, locks, owner: 'h' },
    manager,
    reconciler: { check: async () => {} },
  });
  const lock = (by: LockManager, kind: 'mount' | 'copy') =>
    by.lock([{ name: 'mount/v', mode: 'exclusive' }], { kind, reason: kind });
  const owned = resources.move();
  return {
    ...{ ...onHost, doctor, locks, manager, earlier, other, lock },
    seen: () => eventually(() => expect(locks.tickets('v')).toHaveLength(1)),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

test('a lock of this host without a mount is released', async () => {
  await using on = await hospital();
  await on.lock(on.manager, 'mount');
  await on.seen();
  const finding = { kind: 'lock-without-mount', what: 'v', fix: 'releases the lock' };
  expect(await on.doctor.examine({ ...fix, fix: false })).toMatchObject([finding]);
  expect(await on.doctor.examine(fix)).toMatchObject([{ ...finding, state: 'fixed' }]);
  expect(await on.manager.inspect('mount/v')).toEqual([]);
});

test('a lock of an earlier daemon of this host is left to an operator', async () => {
  await using on = await hospital();
  const { token } = await on.lock(on.earlier, 'mount');
  await on.seen();
  const [outcome] = await on.doctor.examine(fix);
  expect(outcome).toMatchObject({ kind: 'lock-without-mount', state: 'found' });
  expect(outcome?.next).toContain(`or now: berth lock clear v --token ${token} --force`);
  expect(await on.manager.inspect('mount/v')).toHaveLength(1);
});

test('locks of other hosts and of other operations are ignored', async () => {
  await using on = await hospital();
  await using _theirs = await on.lock(on.other, 'mount');
  await on.seen();
  expect(await on.doctor.examine(fix)).toEqual([]);
});

test('a Mount in progress does not count as a lock without a mount', async () => {
  await using on = await hospital();
  const { promise: goOn, resolve: end } = Promise.withResolvers<void>();
  const mounting = on.mutex.run('v', async () => {
    const use = UseMount('v', 'mount');
    const lock = await on.locks.acquireWithTTLRefresh(use, { signal, onChange: () => {} });
    await goOn;
    await lock.unlock();
  });
  await on.seen();
  const examining = on.doctor.examine(fix);
  end();
  await mounting;
  await eventually(() => expect(on.locks.tickets('v')).toEqual([]));
  expect(await examining).toEqual([]);
});

test('a mount whose roll-back failed is reported', async () => {
  await using on = await hospital();
  const { ticket } = await on.lock(on.manager, 'mount');
  await on.table.put({
    ...{ volume: 'v', driver: 'directory', options: {}, mountpoint: '/nowhere', ticket },
    ...{ access: 'host', failover: 'auto', onLost: 'pause', mountMark: ticket.nonce },
    ...{ bootId: 'boot', mountIds: new Map() },
  });
  expect(await on.doctor.examine(fix)).toMatchObject([
    { kind: 'interrupted-mount', state: 'found' },
  ]);
});
