import { expect, test } from '@jest/globals';
import { memoryStore } from '../../lib/lock/stores/memory.ts';
import { FaultyStore } from '../support/faulty-store.ts';
import type { Queued } from './manager-bench.ts';
import { manager, queue, take } from './manager-bench.ts';

test('asks the store twice for each hand-over, however many wait', async () => {
  await using store = new FaultyStore(memoryStore());
  await using n1 = manager(store, 'n1');
  let lock = await take(n1, 'db');
  const waiters: Queued[] = [];
  for (let index = 0; index < 200; index += 1) waiters.push(await queue(n1, 'db'));
  store.takeCalls();
  for (const { granted } of waiters) {
    await lock.unlock();
    lock = await granted;
    expect(store.takeCalls()).toEqual(['remove', 'place']);
  }
  await lock.unlock();
});

test('does not ask the store for a waiter that nothing has happened to', async () => {
  await using store = new FaultyStore(memoryStore());
  await using n1 = manager(store, 'n1');
  await using _ = await take(n1, 'db');
  const cancel = new AbortController();
  const waiter = await queue(n1, 'db', { signal: cancel.signal });
  store.takeCalls();
  for (let index = 0; index < 50; index += 1) await (await take(n1, `other ${index}`)).unlock();
  expect(store.takeCalls()).not.toContain('place');
  cancel.abort();
  await expect(waiter.granted).rejects.toThrow('cancelled');
});
