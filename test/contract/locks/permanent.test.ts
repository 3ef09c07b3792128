// Locks that outlive their host while the store is out of reach: a memory store behind a network
// that fails on command; time moves by hand.
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import type { LockManager } from '../../../lib/lock/lock-manager.ts';
import { memoryState, memoryStore } from '../../../lib/lock/stores/memory/store.ts';
import { FaultyStore } from '../../support/faulty-store.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { keep, manager, queue, take } from '../bench/manager-bench.ts';

const ttlMs = 10_000;
const permanent = { ttlMs: Number.POSITIVE_INFINITY };
const forgetful = { resume: undefined, save: async () => {} };

/** Hosts n1 and n2 on one memory store; a test can break n1's network and moves time by hand. */
class Hosts implements AsyncDisposable {
  readonly clock = new ManualClock();
  readonly #shared = memoryState(this.clock);
  readonly network = new FaultyStore(memoryStore({ shared: this.#shared }));
  readonly n2 = manager(memoryStore({ shared: this.#shared }), 'n2', { clock: this.clock, ttlMs });
  readonly n1 = this.start();

  /** Starts one more process of n1. */
  start(): LockManager {
    return manager(this.network, 'n1', { clock: this.clock, ttlMs, keep: forgetful });
  }

  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 100) {
      this.clock.advance(Math.min(left, 100));
      await pause(0);
      await pause(0);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.network.cutOff();
    const closed = Promise.all([this.n1.close({ keep: false }), this.n2.close({ keep: false })]);
    await pause(1);
    this.clock.advance(ttlMs);
    await closed;
  }
}

test('a manager holds a lock that outlives its host while the store is away, however long', async () => {
  await using hosts = new Hosts();
  const [leased, lock] = [await take(hosts.n1, 'leased'), await take(hosts.n1, 'db', permanent)];
  const next = await queue(hosts.n2, 'db');
  hosts.network.cutOff();
  await hosts.pass(6 * ttlMs);
  expect(leased.signal.aborted).toBe(true);
  expect(hosts.n1.leftMs).toBe(0);
  lock.throwIfLost();
  expect(lock.signal.aborted).toBe(false);
  expect(next.endedAt).toBeUndefined();
  hosts.network.reconnect();
  await lock.confirm();
  await lock.unlock();
  await next.granted;
});

test('a manager proves a kept lock again once a new session can be opened', async () => {
  await using hosts = new Hosts();
  const { kept, states } = keep(await take(hosts.n1, 'db', permanent), hosts.n1);
  hosts.network.cutOff();
  await hosts.pass(2 * ttlMs);
  expect([kept.state, ...states]).toEqual(['unproven', 'unproven']);
  hosts.network.fail('openSession', ...Array.from({ length: 3 }, () => 'lost request' as const));
  hosts.network.reconnect();
  await hosts.pass(1_000);
  expect(kept.state).toBe('unproven');
  await hosts.pass(3_000);
  expect([kept.state, ...states]).toEqual(['held', 'unproven', 'held']);
  // The same works with the new session.
  hosts.network.cutOff();
  await hosts.pass(ttlMs);
  expect(kept.state).toBe('unproven');
  hosts.network.reconnect();
  await hosts.pass(2_000);
  await kept.unlock();
  expect(states).toEqual(['unproven', 'held', 'unproven', 'held', 'released']);
  expect(await hosts.n2.list()).toEqual([]);
});

test('a manager reports a cleared lock as unproven, and as lost once the store answers again', async () => {
  await using hosts = new Hosts();
  const { kept, states } = keep(await take(hosts.n1, 'db', permanent), hosts.n1);
  const next = await queue(hosts.n2, 'db');
  hosts.network.cutOff();
  await hosts.pass(2 * ttlMs);
  await hosts.n2.breakLock(kept.ticket);
  await next.granted;
  await hosts.pass(1_000);
  expect([kept.state, ...states]).toEqual(['unproven', 'unproven']);
  hosts.network.reconnect();
  await hosts.pass(2_000);
  expect(states).toEqual(['unproven', 'lost']);
});

test('a manager releases a lock in the background until the store is back', async () => {
  await using hosts = new Hosts();
  const lock = await take(hosts.n1, 'db', permanent);
  const next = await queue(hosts.n2, 'db');
  hosts.network.cutOff();
  const unlocked = lock.unlock();
  await hosts.pass(3 * ttlMs);
  await unlocked;
  expect(next.endedAt).toBeUndefined();
  hosts.network.reconnect();
  await hosts.pass(3_000);
  await next.granted;
});

test('a manager leaves the tickets of the earlier process until a call of `dropStrays`', async () => {
  await using hosts = new Hosts();
  const lock = await take(hosts.n1, 'db', permanent);
  const { ticket: stray } = await take(hosts.n1, 'stray', permanent);
  await hosts.n1.close({ keep: true });
  await hosts.pass(2 * ttlMs);
  const after = hosts.start();
  expect(await after.open()).toMatchObject({ resumed: false });
  await take(after, 'another', permanent);
  await hosts.pass(3_000);
  const back = await after.attach(lock.ticket);
  expect(back?.token).toBe(lock.token);
  expect(await hosts.n2.inspect('stray')).toEqual([stray]);
  await after.dropStrays();
  expect((await hosts.n2.list()).flatMap(({ locks }) => locks.map(({ name }) => name))).toEqual([
    'db',
    'another',
  ]);
  await after.close({ keep: false });
  expect(await hosts.n2.list()).toEqual([]);
});

test('a manager removes a ticket of a crashed process that arrives late', async () => {
  await using hosts = new Hosts();
  const after = hosts.start();
  await after.dropStrays();
  const late = await take(hosts.n1, 'late', permanent);
  const next = await queue(hosts.n2, 'late');
  await hosts.pass(1_500);
  await (await next.granted).unlock();
  expect(late.signal.aborted).toBe(true);
  await after.close({ keep: false });
});

test('a manager with an infinite default TTL is refused', async () => {
  await using store = memoryStore();
  expect(() => manager(store, 'n1', { ...permanent, keep: forgetful })).toThrow(RangeError);
});
