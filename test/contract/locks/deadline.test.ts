// A lock's deadline while the store is out of reach: the real lock manager on a memory store behind
// a network that fails on command; time moves by hand.
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import {
  LockLostError,
  LockTimeoutError,
  StoreUnavailableError,
} from '../../../lib/lock/errors.ts';
import { memoryStore } from '../../../lib/lock/stores/memory/store.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { deadlineMs, Hosts, ttlMs } from '../bench/hosts.ts';
import { keep, manager, queue, take } from '../bench/manager-bench.ts';

const renewalMs = 3_334;

test('S57 S73 a manager ends the lock at its deadline, before the store can grant it to another', async () => {
  await using hosts = new Hosts();
  const lock = await take(hosts.n1, 'db');
  const next = await queue(hosts.n2, 'db');
  hosts.network.cutOff();
  await hosts.pass(deadlineMs - 1);
  expect(lock.signal.aborted).toBe(false);
  await hosts.pass(1);
  expect(lock.signal.reason).toBeInstanceOf(LockLostError);
  expect(() => lock.throwIfLost()).toThrow('the store could not be reached in time');
  await hosts.pass(ttlMs - deadlineMs - 1);
  expect(next.endedAt).toBeUndefined();
  await hosts.pass(1);
  expect((await next.granted).token).toBeGreaterThan(lock.token);
});

test('S19 a manager holds a lock as long as its renewals reach the store', async () => {
  await using hosts = new Hosts();
  const lock = await take(hosts.n1, 'db');
  const next = await queue(hosts.n2, 'db');
  await hosts.pass(6 * ttlMs, 500);
  lock.throwIfLost();
  await lock.confirm();
  expect(next.endedAt).toBeUndefined();
  await lock.unlock();
  await next.granted;
});

test('S28 a manager releases a lost lock with a longest hold although nobody unlocks it', async () => {
  await using hosts = new Hosts();
  const lock = await take(hosts.n1, 'db', { maxHoldMs: 5 * ttlMs });
  const next = await queue(hosts.n2, 'db');
  hosts.network.cutOff();
  await hosts.pass(deadlineMs);
  expect(lock.signal.reason).toBeInstanceOf(LockLostError);
  expect(next.endedAt).toBeUndefined();
  hosts.network.reconnect();
  await hosts.pass(2_100);
  await (await next.granted).confirm();
});

test('a manager counts the deadline from when the last renewal was sent, not from its answer', async () => {
  await using hosts = new Hosts();
  const lock = await take(hosts.n1, 'db');
  hosts.network.fail('renewSession', { answersAfterMs: 50 });
  await hosts.pass(renewalMs, renewalMs);
  expect(hosts.network.takeCalls()).toContain('renewSession');
  hosts.clock.advance(2_000);
  await pause(80); // The answer has arrived by now, 2,000 ms late.
  hosts.network.cutOff();
  await hosts.pass(deadlineMs - 2_000 - 1);
  expect(lock.signal.aborted).toBe(false);
  await hosts.pass(1);
  expect(lock.signal.aborted).toBe(true);
});

test('a manager ends the lock at its deadline when only the replies to renewals are lost', async () => {
  await using hosts = new Hosts();
  const lock = await take(hosts.n1, 'db');
  hosts.network.fail('renewSession', ...Array.from({ length: 20 }, () => 'lost reply' as const));
  await hosts.pass(deadlineMs - 1);
  lock.throwIfLost();
  await hosts.pass(1);
  expect(() => lock.throwIfLost()).toThrow(LockLostError);
});

test('S74 a manager reads the clock itself on a check, since timers can be late', async () => {
  await using hosts = new Hosts();
  const lock = await take(hosts.n1, 'db');
  const { kept } = keep(await take(hosts.n1, 'kept'), hosts.n1);
  hosts.clock.advance(deadlineMs);
  expect(lock.signal.aborted).toBe(false); // No timer has run yet.
  expect(kept.state).toBe('unproven');
  expect(() => lock.throwIfLost()).toThrow(LockLostError);
  expect(lock.signal.aborted).toBe(true);
});

test('a manager rejects writes and confirms past the deadline although the ticket still stands', async () => {
  await using hosts = new Hosts();
  const lock = await take(hosts.n1, 'db');
  hosts.clock.advance(deadlineMs);
  const late = lock.guard([{ key: 'r', value: 'late' }]);
  await expect(late).rejects.toThrow(LockLostError);
  await expect(lock.confirm()).rejects.toThrow(LockLostError);
  expect(await hosts.network.record('r')).toBeUndefined();
  expect(await hosts.n2.inspect('db')).toEqual([lock.ticket]);
});

test('a manager grants nothing on a lapsed session', async () => {
  await using hosts = new Hosts();
  await (await take(hosts.n1, 'db')).unlock();
  hosts.network.cutOff();
  await hosts.pass(deadlineMs);
  hosts.network.reconnect();
  const refused = take(hosts.n1, 'db', { timeoutMs: 0 });
  await expect(refused).rejects.toThrow(StoreUnavailableError);
  await expect(refused).rejects.toThrow(/has not answered for longer than this host may act/);
  expect(await hosts.n2.inspect('db')).toEqual([]);
});

test('a manager keeps the place of a waiter through a lapse while its ticket stands', async () => {
  await using hosts = new Hosts();
  const lock = await take(hosts.n2, 'db');
  const waiter = await queue(hosts.n1, 'db');
  const behind = await queue(hosts.n2, 'db');
  hosts.network.cutOff();
  await hosts.pass(deadlineMs);
  hosts.network.reconnect();
  await hosts.pass(1_500);
  await lock.unlock();
  await (await waiter.granted).unlock();
  await (await behind.granted).unlock();
});

test('S68 a manager rejects a waiter whose ticket was removed with its session', async () => {
  await using hosts = new Hosts();
  const lock = await take(hosts.n2, 'db');
  const waiter = await queue(hosts.n1, 'db');
  hosts.network.cutOff();
  await hosts.pass(ttlMs);
  hosts.network.reconnect();
  await hosts.pass(1_000);
  await expect(waiter.granted).rejects.toThrow(LockLostError);
  expect(await hosts.n2.inspect('db')).toEqual([lock.ticket]);
});

test('a manager re-acquires a kept lock when the store returns in time and still has the ticket', async () => {
  await using hosts = new Hosts();
  const { kept, states } = keep(await take(hosts.n1, 'db'), hosts.n1);
  hosts.network.cutOff();
  await hosts.pass(deadlineMs);
  expect([kept.state, ...states]).toEqual(['unproven', 'unproven']);
  hosts.network.reconnect();
  await hosts.pass(1_000);
  expect([kept.state, ...states]).toEqual(['held', 'unproven', 'held']);
  expect(await hosts.n2.inspect('db')).toEqual([kept.ticket]);
  // The same works a second time.
  hosts.network.cutOff();
  await hosts.pass(deadlineMs);
  expect(kept.state).toBe('unproven');
  hosts.network.reconnect();
  await hosts.pass(1_000);
  await kept.unlock();
  expect(states).toEqual(['unproven', 'held', 'unproven', 'held', 'released']);
  expect(await hosts.n2.inspect('db')).toEqual([]);
});

test('a manager reports a kept lock as lost when the store returns without its ticket', async () => {
  await using hosts = new Hosts();
  const { states } = keep(await take(hosts.n1, 'db'), hosts.n1);
  const next = await queue(hosts.n2, 'db');
  hosts.network.cutOff();
  await hosts.pass(ttlMs);
  await next.granted;
  expect(states).toEqual(['unproven']);
  hosts.network.reconnect();
  await hosts.pass(1_000);
  expect(states).toEqual(['unproven', 'lost']);
});

test('a manager grants a request made during a lapse once the store is back', async () => {
  await using hosts = new Hosts();
  await take(hosts.n1, 'db');
  hosts.network.cutOff();
  await hosts.pass(deadlineMs);
  const request = take(hosts.n1, 'other', { timeoutMs: 5_000 });
  await hosts.pass(1_000);
  hosts.network.reconnect();
  await hosts.pass(renewalMs);
  await (await request).confirm();
});

test('a manager settles a kept lock although the store fails again when it is asked', async () => {
  await using hosts = new Hosts();
  const { states } = keep(await take(hosts.n1, 'db'), hosts.n1);
  hosts.network.cutOff();
  await hosts.pass(deadlineMs);
  hosts.network.fail('stands', 'lost request', 'lost reply');
  hosts.network.reconnect();
  await hosts.pass(1_000);
  expect(states).toEqual(['unproven']);
  await hosts.pass(2 * renewalMs + 200);
  expect(states).toEqual(['unproven', 'held']);
});

test('a manager reports a kept lock as lost with its session although no new session can be opened', async () => {
  await using hosts = new Hosts();
  const { states } = keep(await take(hosts.n1, 'db'), hosts.n1);
  hosts.network.cutOff();
  await hosts.pass(ttlMs);
  hosts.network.fail('openSession', ...Array.from({ length: 9 }, () => 'lost request' as const));
  hosts.network.reconnect();
  await hosts.pass(1_000);
  expect(states).toEqual(['unproven', 'lost']);
});

test('a manager releases an unproven kept lock once the store is back, and no other lock', async () => {
  await using hosts = new Hosts();
  const { kept, states } = keep(await take(hosts.n1, 'db'), hosts.n1);
  hosts.network.cutOff();
  await hosts.pass(deadlineMs);
  const unlocked = kept.unlock();
  await hosts.pass(1_000);
  expect(await hosts.n2.inspect('db')).toHaveLength(1);
  hosts.network.reconnect();
  await hosts.pass(3_000);
  await unlocked;
  expect(states).toEqual(['unproven', 'released']);
  expect(await hosts.n2.inspect('db')).toEqual([]);
  expect(hosts.n1.mirror.tickets()).toEqual([]);
});

test('F10 waits and holds for longer than a timer of node can take', async () => {
  const clock = new ManualClock();
  const day = 24 * 3_600_000;
  // The longest TTL, so that few renewals are due in all that time.
  await using locks = manager(memoryStore({ clock }), 'n1', { clock, ttlMs: 2 ** 31 - 1 });
  const passDays = async (days: number) => {
    for (let passed = 0; passed < days; passed += 2) {
      clock.advance(2 * day);
      for (let turn = 0; turn < 5; turn += 1) await pause(0);
    }
  };
  const lock = await take(locks, 'db', { maxHoldMs: 40 * day });
  const waiter = await queue(locks, 'db', { timeoutMs: 30 * day });
  await passDays(28);
  lock.throwIfLost();
  expect(waiter.endedAt).toBeUndefined();
  await passDays(2);
  await expect(waiter.granted).rejects.toThrow(LockTimeoutError);
  await passDays(10);
  expect(() => lock.throwIfLost()).toThrow(/its longest hold has passed/);
});

test('F10 a manager refuses a TTL that no renewal could keep', () => {
  for (const wrong of [1, 999, Number.POSITIVE_INFINITY]) {
    expect(() => manager(memoryStore(), 'n1', { ttlMs: wrong })).toThrow(RangeError);
  }
});
