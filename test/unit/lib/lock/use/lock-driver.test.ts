// Disabling and enabling volumes over the lock driver, on a memory store whose watch is late or
// silent.

import { expect, test } from '@jest/globals';
import { LockManager } from '../../../../../lib/lock/lock-manager.ts';
import { memoryStore } from '../../../../../lib/lock/stores/memory/store.ts';
import type { TicketStore } from '../../../../../lib/lock/stores/ticket-store.ts';
import { LockDriver } from '../../../../../lib/lock/use/lock-driver.ts';

/** A store whose watch reports changes late, or never with `Infinity`. */
function lateStore(lateMs: number): TicketStore {
  const store = memoryStore();
  return {
    ...store,
    watch: (watcher) =>
      store.watch({
        reset: (state) => watcher.reset(state),
        change: (change) => {
          if (lateMs < Number.POSITIVE_INFINITY) setTimeout(() => watcher.change(change), lateMs);
        },
        interrupted: () => watcher.interrupted(),
        resumed: () => watcher.resumed(),
      }),
  };
}

async function driverOver(store: TicketStore) {
  const manager = new LockManager({ store, host: 'n1', owner: 'n1', ttlMs: 30_000 });
  await manager.mirror.firstReset;
  return { manager, driver: new LockDriver(manager, 0) };
}

test('once disable or enable has returned, this host sees the new state', async () => {
  const { manager, driver } = await driverOver(lateStore(50));
  await using _ = manager;
  const closed = await driver.disable('db', { why: 'upgrade' });
  expect(closed).toMatchObject([{ lockName: 'mount/db' }, { lockName: 'snapshot/db' }]);
  expect(driver.gates('db')).toEqual(closed);
  expect(driver.gates()).toEqual(closed);
  expect(await driver.enable('db')).toEqual(closed);
  expect(driver.gates('db')).toEqual([]);
  expect(await driver.enable('db')).toEqual([]);
});

test('disable and enable work even if the watch reports nothing to this host', async () => {
  const { manager, driver } = await driverOver(lateStore(Number.POSITIVE_INFINITY));
  await using _ = manager;
  expect(await driver.disable('db', {})).toHaveLength(2);
  expect(await manager.gates()).toHaveLength(2);
  expect(await driver.enable('db')).toHaveLength(2);
  expect(await manager.gates()).toEqual([]);
});

test('locks that do not belong to volumes are ignored', async () => {
  const { manager, driver } = await driverOver(memoryStore());
  await using _ = manager;
  await manager.disable('host/n1');
  expect(driver.gates()).toEqual([]);
  await driver.disable('db', {});
  expect(driver.gates().map(({ lockName }) => lockName)).toEqual(['mount/db', 'snapshot/db']);
  expect(driver.gates('d')).toEqual([]);
});
