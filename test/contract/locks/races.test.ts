// Answers of the store that arrive when they are no longer true: a memory store behind a network
// that delays calls; real time.
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { Reports } from '../../../lib/lock/engine/reports.ts';
import { SessionKeeper } from '../../../lib/lock/engine/session.ts';
import { LockLostError } from '../../../lib/lock/errors.ts';
import type { LockManager } from '../../../lib/lock/lock-manager.ts';
import { memoryState, memoryStore } from '../../../lib/lock/stores/memory/store.ts';
import type { TicketStore } from '../../../lib/lock/stores/ticket-store.ts';
import { systemClock } from '../../../lib/running/clock.ts';
import { FaultyStore } from '../../support/faulty-store.ts';
import { manager, take } from '../bench/manager-bench.ts';
import { eventually } from '../bench/store-bench.ts';

let store: TicketStore;
let network: FaultyStore;
let n1: LockManager;

beforeEach(async () => {
  const shared = memoryState();
  store = memoryStore({ shared });
  network = new FaultyStore(memoryStore({ shared }));
  n1 = manager(network, 'n1');
  await n1.open();
});
afterEach(() => n1.close({ keep: false }));

test('a manager removes a late copy of a request while the removal of its ticket is not confirmed', async () => {
  network.fail('enqueue', { arrivesAfterMs: 100 });
  const lock = await take(n1, 'db'); // Granted by the second call.
  network.fail('remove', { repliesAfterMs: 200 });
  const unlocked = lock.unlock();
  await eventually(async () => expect((await store.tickets())[0]?.token).not.toBe(lock.token));
  await eventually(async () => expect(await store.tickets()).toHaveLength(1));
  await unlocked;
  await eventually(async () => expect(await store.tickets()).toEqual([]));
});

test('a manager does not attach to a ticket that it removed during the question', async () => {
  const lock = await take(n1, 'db');
  network.fail('stands', { repliesAfterMs: 50 });
  const attached = n1.attach(lock.ticket);
  await pause(10);
  await lock.unlock();
  expect(await attached).toBeUndefined();
});

test('a manager does not attach to a ticket whose removal is under way', async () => {
  const lock = await take(n1, 'db');
  network.fail('remove', { answersAfterMs: 50 });
  const unlocked = lock.unlock();
  expect(await n1.attach(lock.ticket)).toBeUndefined();
  await unlocked;
});

test('a manager rejects a request whose ticket was broken before the grant arrived', async () => {
  network.fail('enqueue', { repliesAfterMs: 50 });
  const taken = take(n1, 'db');
  await eventually(async () => expect(n1.mirror.tickets()).toHaveLength(1));
  for (const ticket of await store.tickets()) await store.remove(ticket);
  await expect(taken).rejects.toThrow(LockLostError);
});

test('a manager ends an attached lock that was broken before the store answered', async () => {
  const { ticket } = await take(n1, 'db');
  network.fail('stands', { repliesAfterMs: 50 });
  const attached = n1.attach(ticket);
  await pause(10);
  await store.remove(ticket);
  expect((await attached)?.signal.aborted ?? true).toBe(true);
});

test('a manager does not revive a session that was dropped during its renewal', async () => {
  const clock = systemClock();
  const sessions = new SessionKeeper({
    store: network,
    clock,
    ttlMs: 300,
    owner: 'n2',
    onSessionHeard: () => {},
    reports: new Reports({ clock }),
  });
  const session = await sessions.get();
  network.takeCalls();
  network.fail('renewSession', { repliesAfterMs: 50 });
  await eventually(async () => expect(network.takeCalls()).toContain('renewSession'));
  sessions.drop();
  await pause(100);
  expect(session.isLapsed).toBe(true);
  await sessions.close({ keep: false });
});
