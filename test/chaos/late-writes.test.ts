// Two writes of one holder whose first one arrives late: a memory store behind a network that fails
// on command; real time.
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { LockManager } from '../../lib/lock/lock-manager.ts';
import { memoryStore } from '../../lib/lock/stores/memory/store.ts';
import { FaultyStore } from '../support/faulty-store.ts';

/**
 * Makes two writes. The answer of the first is lost, so it is repeated; then the first attempt
 * arrives after all. On etcd, a frozen member or a network outage can delay a write like this.
 */
async function twoWrites(expectsRevision: boolean): Promise<string | undefined> {
  await using store = memoryStore();
  const network = new FaultyStore(store);
  await using manager = new LockManager({ store: network, host: 'n1', owner: 'n1', ttlMs: 60_000 });
  await using lock = await manager.lock([{ name: 'db', mode: 'exclusive' }], { reason: 'Mount' });
  for (const value of ['first', 'second']) {
    if (value === 'first') network.fail('commit', { arrivesAfterMs: 100 });
    const expectedRevision = (await store.record('r'))?.revision ?? 0;
    await lock.guard([{ key: 'r', value, ...(expectsRevision ? { expectedRevision } : {}) }]);
  }
  await pause(200);
  return (await store.record('r'))?.value;
}

test('a late write does not undo the next write when it expects a revision', async () => {
  expect(await twoWrites(true)).toBe('second');
});

// The ticket still stands, so the guard accepts the late write; `Lock.guard` warns of this.
test('a late write undoes the next write when it expects no revision', async () => {
  expect(await twoWrites(false)).toBe('first');
});
