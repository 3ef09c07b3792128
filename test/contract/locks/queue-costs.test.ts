// How often waiters ask the store: a memory store that records its calls; real time and a manual
// clock.
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { memoryStore } from '../../../lib/lock/stores/memory/store.ts';
import type { StoreWatcher, TicketStore } from '../../../lib/lock/stores/ticket-store.ts';
import { FaultyStore } from '../../support/faulty-store.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import type { Queued } from '../bench/manager-bench.ts';
import { manager, queue, take } from '../bench/manager-bench.ts';
import { eventually } from '../bench/store-bench.ts';

test('P6 a manager asks the store once for each hand-over, however many wait', async () => {
  await using store = new FaultyStore(memoryStore());
  await using n1 = manager(store, 'n1');
  let lock = await take(n1, 'db');
  const waiters: Queued[] = [];
  for (let index = 0; index < 200; index += 1) waiters.push(await queue(n1, 'db'));
  store.takeCalls();
  for (const { granted } of waiters) {
    await lock.unlock();
    lock = await granted;
    expect(store.takeCalls()).toEqual(['remove']);
  }
  await lock.unlock();
});

test('a manager does not ask the store for a waiter when other locks change', async () => {
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

test('a manager polls the store now and then, more often while the watch is broken, and when it goes on', async () => {
  const clock = new ManualClock();
  const seen: StoreWatcher[] = [];
  await using store = new WatchedStore(memoryStore({ clock }), seen);
  await using n1 = manager(store, 'n1', { clock, ttlMs: 600_000 });
  await using _ = await take(n1, 'db');
  const cancel = new AbortController();
  const waiter = await queue(n1, 'db', { signal: cancel.signal });
  store.takeCalls();
  const asksIn = async (seconds: number) => {
    for (let passed = 0; passed < seconds; passed += 1) {
      clock.advance(1_000);
      await pause(1);
    }
    return store.takeCalls().filter((call) => call === 'place').length;
  };
  expect(await asksIn(29)).toBe(0);
  expect(await asksIn(31)).toBe(2);
  for (const watcher of seen) watcher.interrupted();
  await eventually(() => expect(n1.mirror.isLive).toBe(false));
  expect(await asksIn(30)).toBeGreaterThanOrEqual(5);
  // What it waits for may have gone, and been reported as gone, before it began to wait.
  for (const watcher of seen) watcher.resumed();
  expect(n1.mirror.isLive).toBe(true);
  await eventually(() => expect(store.takeCalls()).toContain('place'));
  expect(await asksIn(25)).toBe(0);
  cancel.abort();
  await expect(waiter.granted).rejects.toThrow('cancelled');
});

/** A store whose watchers a test can call. */
class WatchedStore extends FaultyStore {
  override readonly watch: TicketStore['watch'];

  constructor(store: TicketStore, watchers: StoreWatcher[]) {
    super(store);
    this.watch = (watcher) => {
      watchers.push(watcher);
      return store.watch(watcher);
    };
  }
}
