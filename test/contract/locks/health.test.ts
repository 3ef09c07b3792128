// `health()` of the lock manager: a memory store behind a network that fails on command; time moves
// by hand.
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { memoryState, memoryStore } from '../../../lib/lock/stores/memory/store.ts';
import type { Fault } from '../../support/faulty-store.ts';
import { FaultyStore } from '../../support/faulty-store.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { manager, queue, take } from '../bench/manager-bench.ts';

const ttlMs = 10_000;

/** Two hosts; a test can break the network of the first and moves time by hand. */
function hosts() {
  const clock = new ManualClock();
  const shared = memoryState(clock);
  const network = new FaultyStore(memoryStore({ shared }));
  const n1 = manager(network, 'n1', { clock, ttlMs });
  const n2 = manager(memoryStore({ shared }), 'n2', { clock, ttlMs });
  const pass = async (ms: number) => {
    for (let left = ms; left > 0; left -= 200) {
      clock.advance(Math.min(left, 200));
      await pause(0);
      await pause(0);
    }
  };
  return { network, n1, n2, pass };
}

/** More faults than one test uses up. */
const refusals: readonly Fault[] = Array.from({ length: 1_000 }, () => 'lost request' as const);

test('a manager gives up a session whose only ticket the store does not remove', async () => {
  const { network, n1, n2, pass } = hosts();
  const lock = await take(n1, 'db');
  const next = await queue(n2, 'db');
  network.fail('remove', ...refusals);
  network.fail('closeSession', 'lost request');
  const unlocked = lock.unlock();
  await pass(3_000);
  await unlocked;
  expect(await n1.health()).toMatchObject([
    { severity: 'warning', message: expect.stringMatching(/release of 1 lock/) },
  ]);
  await pass(ttlMs);
  expect(next.endedAt).toBeUndefined();
  await pass(ttlMs + 1_000); // The session is no longer renewed, and could not be closed.
  await (await next.granted).confirm();
  expect(await n1.health()).toEqual([]);
  const after = await take(n1, 'other');
  expect(after.ticket.session).not.toBe(lock.ticket.session);
  network.fail('remove'); // Closing the manager removes the ticket once more.
  await Promise.all([n1.close({ keep: true }), n2.close({ keep: true }), pass(5_000)]);
});

test('a manager keeps a session that has other tickets, and goes on removing', async () => {
  const { network, n1, n2, pass } = hosts();
  const [lock, other] = [await take(n1, 'db'), await take(n1, 'other')];
  network.fail('remove', ...refusals.slice(0, 20));
  const unlocked = lock.unlock();
  await pass(3 * ttlMs);
  await unlocked;
  await other.confirm();
  await pass(ttlMs);
  expect(await n1.list()).toEqual([other.ticket]);
  await Promise.all([n1.close({ keep: false }), n2.close({ keep: false }), pass(5_000)]);
});

test('a manager reports that no renewal of this host has reached the store for too long', async () => {
  const { network, n1, n2, pass } = hosts();
  await take(n1, 'db');
  expect(await n1.health()).toEqual([]);
  network.cutOff();
  await pass(ttlMs - 1_000);
  expect(await n1.health()).toMatchObject([
    { severity: 'error', message: expect.stringMatching(/another host may get its locks/) },
  ]);
  network.reconnect();
  await pass(ttlMs / 2);
  expect(await n1.health()).toEqual([]);
  await Promise.all([n1.close({ keep: false }), n2.close({ keep: false }), pass(5_000)]);
});
