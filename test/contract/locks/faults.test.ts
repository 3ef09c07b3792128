// The lock manager when single calls to the store are lost, late or slow: a memory store behind a
// network that fails on command; real time.

import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  LockCancelledError,
  LockLostError,
  StoreRefusedError,
  StoreUnavailableError,
} from '../../../lib/lock/errors.ts';
import type { LockManager } from '../../../lib/lock/lock-manager.ts';
import { memoryState, memoryStore } from '../../../lib/lock/stores/memory/store.ts';
import type { TicketStore } from '../../../lib/lock/stores/ticket-store.ts';
import { beforePollMs } from '../../support/eventually.ts';
import type { Fault, StoreMethod } from '../../support/faulty-store.ts';
import { FaultyStore } from '../../support/faulty-store.ts';
import { manager, queue, take } from '../bench/manager-bench.ts';
import { eventually, exclusive } from '../bench/store-bench.ts';

let store: TicketStore;
let network: FaultyStore;
let n1: LockManager;
let n2: LockManager;

beforeEach(() => {
  const shared = memoryState();
  store = memoryStore({ shared });
  network = new FaultyStore(memoryStore({ shared }));
  n1 = manager(network, 'n1');
  n2 = manager(memoryStore({ shared }), 'n2');
});
afterEach(async () => {
  await n1.close({ keep: false });
  await n2.close({ keep: false });
});

const lostOnce: readonly Fault[] = ['lost request', 'lost reply', { arrivesAfterMs: 30 }];

describe.each(lostOnce)('a manager, with %j in a call,', (fault) => {
  const isEmpty = () => eventually(async () => expect(await store.tickets()).toEqual([]));

  test('takes a lock with another session when openSession fails', async () => {
    network.fail('openSession', fault);
    await (await take(n1, 'db')).unlock();
    await isEmpty();
  });

  test('takes a lock once when enqueue fails', async () => {
    network.fail('enqueue', fault);
    const lock = await take(n1, 'db');
    expect(await store.tickets()).toEqual([lock.ticket]);
    await lock.confirm();
    const next = await queue(n2, 'db');
    await lock.unlock();
    await (await next.granted).unlock();
    await isEmpty();
  });

  test('S81 leaves nothing when enqueue fails and the request is then cancelled', async () => {
    network.fail('enqueue', fault, 'lost request', 'lost request', 'lost request');
    const signal = AbortSignal.timeout(25);
    await expect(take(n1, 'db', { signal })).rejects.toThrow(LockCancelledError);
    await pause(40);
    await isEmpty();
  });

  test('rejects, and leaves nothing, when enqueue fails until the time is up', async () => {
    network.fail('enqueue', fault, ...Array<Fault>(100).fill('lost request'));
    const request = take(n1, 'db', { timeoutMs: 1_000 });
    await expect(request).rejects.toThrow(StoreUnavailableError);
    await isEmpty();
  });

  test('reports an unavailable store, and leaves nothing, when tryEnqueue fails', async () => {
    await n1.open();
    network.fail('tryEnqueue', fault);
    const tried = n1.tryLock([exclusive('db')], { reason: 'Mount' });
    await expect(tried).rejects.toThrow(StoreUnavailableError);
    await pause(40);
    await isEmpty();
  });

  test('still wakes the waiter when place fails', async () => {
    const held = await take(n2, 'db');
    const { granted } = await queue(n1, 'db');
    network.fail('place', fault);
    await held.unlock();
    await (await granted).unlock();
    await isEmpty();
  });

  test('S67 S81 releases the lock, and never the successor, when remove fails', async () => {
    const lock = await take(n1, 'db');
    const next = await queue(n2, 'db');
    network.fail('remove', fault);
    await lock.unlock();
    const successor = await next.granted;
    await pause(100);
    await successor.confirm();
    expect(await store.tickets()).toEqual([successor.ticket]);
    await successor.unlock();
  });

  test('writes once and keeps the lock when commit fails', async () => {
    const lock = await take(n1, 'db');
    network.fail('commit', fault);
    await lock.guard([{ key: 'r', value: 'one', expectedRevision: 0 }]);
    expect(await store.record('r')).toMatchObject({ value: 'one' });
    expect(n1.mirror.record('r')).toEqual(await store.record('r'));
    await lock.confirm();
    await lock.unlock();
    await isEmpty();
  });

  test('writes and unlocks once, and not after the successor, when a commit that unlocks fails', async () => {
    const lock = await take(n1, 'db');
    const next = await queue(n2, 'db');
    network.fail('commit', fault);
    await lock.guard([{ key: 'r', value: 'one' }], { unlock: true });
    expect(lock.signal.reason).toEqual(new LockLostError('the lock was released'));
    const successor = await next.granted;
    await successor.guard([{ key: 'r', value: 'two' }]);
    await pause(60);
    expect(await store.record('r')).toMatchObject({ value: 'two' });
    await successor.unlock();
    await isEmpty();
  });

  test('reports no write to the holder of a broken lock when commit fails', async () => {
    const lock = await take(n1, 'db');
    await store.remove(lock.ticket);
    network.fail('commit', 'lost request');
    const late = lock.guard([{ key: 'r', value: 'late' }], { unlock: true });
    await expect(late).rejects.toThrow(LockLostError);
    expect(await store.record('r')).toBeUndefined();
  });
});

test('a manager writes nothing when the lock goes to another while the write is under way', async () => {
  for (const unlock of [false, true]) {
    const lock = await take(n1, 'db');
    const next = await queue(n2, 'db');
    network.fail('commit', { answersAfterMs: 30 });
    const late = lock.guard([{ key: 'r', value: 'late' }], { unlock });
    await n2.breakLock(lock.ticket);
    const successor = await next.granted;
    await expect(late).rejects.toThrow(LockLostError);
    expect(await store.record('r')).toBeUndefined();
    await successor.unlock();
  }
});

test('a manager misses no release between the answer of the store and the start of the wait', async () => {
  const held = await take(n2, 'db');
  await n1.open();
  network.fail('enqueue', { repliesAfterMs: 50 });
  const waiting = take(n1, 'db');
  await eventually(async () => expect(await store.tickets()).toHaveLength(2));
  await held.unlock();
  const releasedAt = performance.now();
  await (await waiting).unlock();
  expect(performance.now() - releasedAt).toBeLessThan(beforePollMs);
});

test('a manager reports an unknown outcome when the next holder may have replaced the write', async () => {
  const lock = await take(n1, 'db');
  const next = await queue(n2, 'db');
  network.fail('commit', 'lost reply', { answersAfterMs: 30 });
  const write = lock.guard([{ key: 'r', value: 'one' }], { unlock: true });
  const successor = await next.granted;
  await successor.guard([{ key: 'r', value: 'two' }]);
  await expect(write).rejects.toThrow(StoreUnavailableError);
  expect(lock.signal.aborted).toBe(true);
  await lock.unlock();
  await successor.confirm();
  await successor.unlock();
});

test('a manager reports an unavailable store while it is away, and recovers by itself', async () => {
  await n1.open();
  network.cutOff();
  await expect(take(n1, 'db', { timeoutMs: 100 })).rejects.toThrow(StoreUnavailableError);
  const waiting = take(n1, 'db');
  await pause(50);
  network.reconnect();
  await (await waiting).unlock();
  await eventually(async () => expect(await store.tickets()).toEqual([]));
});

test('a manager unlocks in the background while the store is away, until the ticket is removed', async () => {
  const lock = await take(n1, 'db');
  network.cutOff();
  await lock.unlock();
  expect(await store.tickets()).toHaveLength(1);
  network.reconnect();
  await eventually(async () => expect(await store.tickets()).toEqual([]));
});

test('F8 a manager does not wait for the removal of a request that the store has refused', async () => {
  await n1.open();
  for (const timeoutMs of [0, undefined]) {
    network.takeCalls();
    network.fail(timeoutMs === 0 ? 'tryEnqueue' : 'enqueue', 'refused');
    const refused = take(n1, 'db', timeoutMs === undefined ? {} : { timeoutMs });
    await expect(refused).rejects.toThrow(StoreRefusedError);
    expect(network.takeCalls()).not.toContain('remove');
    expect(await n1.health()).toEqual([]);
  }
});

test('F8 a manager removes a request that the store refused only when it was repeated', async () => {
  await n1.open();
  network.fail('enqueue', 'lost reply', 'refused');
  await expect(take(n1, 'db')).rejects.toThrow(StoreRefusedError);
  expect(await store.tickets()).toEqual([]);
});

test('a manager never holds a lock whose request was cancelled while the store was slow', async () => {
  await n1.open();
  for (const method of ['enqueue', 'tryEnqueue'] as const) {
    network.fail(method, { answersAfterMs: 60 });
    const options = method === 'enqueue' ? {} : { timeoutMs: 0 };
    const request = take(n1, 'db', { ...options, signal: AbortSignal.timeout(20) });
    await expect(request).rejects.toThrow(LockCancelledError);
    expect(await store.tickets()).toEqual([]);
  }
});

test('S76 managers exclude each other and clean up whatever goes wrong with the calls of 300 requests', async () => {
  const methods = ['enqueue', 'tryEnqueue', 'place', 'remove', 'commit', 'renewSession'] as const;
  const faults: readonly Fault[] = [...lostOnce, { answersAfterMs: 3 }];
  await n1.open();
  let seed = 7;
  const random = (below: number) => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed % below;
  };
  const holders = { a: 0, b: 0 };
  let written = 0;
  const work = async (by: LockManager) => {
    const method: StoreMethod = methods[random(methods.length)] ?? 'enqueue';
    const fault = faults[random(faults.length)] ?? 'lost reply';
    if (random(3) === 0) network.fail(method, fault);
    const names = ([['a'], ['b'], ['a', 'b']] as const)[random(3)] ?? ['a'];
    const lock = await take(by, names.map(exclusive), { timeoutMs: random(4) === 0 ? 0 : 20_000 });
    for (const name of names) {
      holders[name] += 1;
      expect(holders[name]).toBe(1);
    }
    await pause(random(3));
    const unlock = random(2) === 0;
    for (const name of names) holders[name] -= 1;
    await lock.guard([{ key: 'r', value: `${lock.token}` }], { unlock });
    written += 1;
    await lock.unlock();
  };
  const tasks = Array.from({ length: 300 }, async (_, index) => {
    await pause(index * 10);
    await work(index % 3 === 0 ? n2 : n1).catch((error) => {
      expect(['unavailable', 'contended', 'timeout']).toContain(error.code);
    });
  });
  await Promise.all(tasks);
  expect(written).toBeGreaterThan(50);
  await eventually(async () => expect(await store.tickets()).toEqual([]));
});
