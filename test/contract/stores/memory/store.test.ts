// The memory store, which is also the reference model of the simulation: a manual clock.
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { StoreUnavailableError } from '../../../../lib/lock/errors.ts';
import { memoryState, memoryStore } from '../../../../lib/lock/stores/memory/store.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { clientOf, shortTtlMs } from '../../bench/store-bench.ts';
import { StoreMirror } from '../../bench/store-mirror.ts';
import { ticketStoreContract } from '../../store/ticket-store.ts';

ticketStoreContract('memory', async () => {
  const clock = new ManualClock();
  const shared = memoryState(clock);
  return {
    connect: async () => memoryStore({ shared }),
    dispose: async () => {},
    expireSession: async () => clock.advance(shortTtlMs),
  };
});

test('S19 the memory store keeps a renewed session and ends it a TTL after its last renewal', async () => {
  const clock = new ManualClock();
  await using store = memoryStore({ clock });
  const client = await clientOf(store, 'n1', 1000);
  await client.hold('db');
  for (let index = 0; index < 5; index += 1) {
    clock.advance(900);
    expect(await store.renewSession(client.session)).toEqual({ ttlMs: 1000 });
  }
  clock.advance(499);
  expect(await store.sessionAlive(client.session)).toBe(true);
  clock.advance(500);
  expect(await store.sessionAlive(client.session)).toBe(false);
  expect(await store.tickets()).toHaveLength(1);
  clock.advance(1);
  expect(await store.tickets()).toEqual([]);
});

test('the memory store sleeps only while somebody watches, and only once at a time', async () => {
  const clock = new ManualClock();
  await using store = memoryStore({ clock });
  const long = await clientOf(store, 'n1', 9000);
  await long.hold('a');
  expect(clock.sleeping).toBe(0);
  const mirror = new StoreMirror();
  const watch = store.watch(mirror);
  expect(clock.sleeping).toBe(1);
  const short = await clientOf(store, 'n2', 1000);
  await short.hold('b');
  for (let index = 0; index < 5; index += 1) await store.renewSession(short.session);
  await pause(1);
  expect(clock.sleeping).toBe(1);
  clock.advance(1000);
  await pause(1);
  expect(mirror.tickets.map(({ session }) => session)).toEqual([long.session]);
  clock.advance(8000);
  await pause(1);
  expect(mirror.tickets).toEqual([]);
  await clientOf(store, 'n3', 1000);
  expect(clock.sleeping).toBe(1);
  watch[Symbol.dispose]();
  await pause(1);
  expect(clock.sleeping).toBe(0);
});

test('the memory store does nothing before the caller goes on', async () => {
  const shared = memoryState(new ManualClock());
  await using store = memoryStore({ shared });
  const client = await clientOf(store, 'n1');
  const held = client.enqueue('db');
  expect(shared.tickets()).toEqual([]);
  const { ticket } = await held;
  expect(shared.tickets()).toEqual([ticket]);
});

test('the memory store rejects calls after it was closed, and leaves its sessions alone', async () => {
  const shared = memoryState(new ManualClock());
  const [first, second] = [memoryStore({ shared }), memoryStore({ shared })];
  const client = await clientOf(first, 'n1');
  const held = await client.hold('db');
  await first[Symbol.asyncDispose]();
  await expect(client.enqueue('db')).rejects.toThrow(StoreUnavailableError);
  expect(await second.tickets()).toEqual([held]);
});
