import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { LockManager } from '../../lib/lock/lock-manager.ts';
import { memoryStore } from '../../lib/lock/stores/memory/store.ts';
import { FaultyStore } from '../support/faulty-store.ts';

/**
 * The first write's answer is lost, so it is repeated; then the first arrives after all. On etcd a
 * member that was frozen, or a network that was away, brings such writes.
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

test('a write that arrives late does not undo the next one, which expects a revision', async () => {
  expect(await twoWrites(true)).toBe('second');
});

// The ticket still stands, so the guard lets it pass: what `Lock.guard` warns of.
test('and undoes one that expects none', async () => {
  expect(await twoWrites(false)).toBe('first');
});
