// The promises of several hosts at one moment: two hosts with real locks on one memory store.

import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { Lock } from '../../../../../lib/lock/lock.ts';
import { LockManager } from '../../../../../lib/lock/lock-manager.ts';
import type { MemoryState } from '../../../../../lib/lock/stores/memory/state.ts';
import { memoryState, memoryStore } from '../../../../../lib/lock/stores/memory/store.ts';
import type { TicketStore } from '../../../../../lib/lock/stores/ticket-store.ts';
import { systemClock } from '../../../../../lib/running/clock.ts';
import { Promises } from '../../../../../lib/volumes/pools/promises.ts';

interface Host {
  readonly store: TicketStore;
  readonly manager: LockManager;
  readonly promises: Promises;
  lock(volume: string): Promise<Lock>;
}

let shared: MemoryState;
let hosts: AsyncDisposableStack;
let n1: Host;
let n2: Host;

function join(host: string): Host {
  const store = hosts.use(memoryStore({ shared }));
  const manager = hosts.use(new LockManager({ store, host, owner: host, ttlMs: 30_000 }));
  const promises = new Promises({ mirror: manager.mirror, store, clock: systemClock(), host });
  const lock = (volume: string) =>
    manager.lock([{ name: `mount/${volume}`, mode: 'exclusive' }], { reason: 'Create' });
  return { store, manager, promises, lock };
}

beforeEach(() => {
  shared = memoryState();
  hosts = new AsyncDisposableStack();
  [n1, n2] = [join('n1'), join('n2')];
});

afterEach(async () => {
  await hosts.disposeAsync();
});

const keys = async ({ store }: Host) => (await store.records('promises/')).map(({ key }) => key);

test('of two promises of two hosts at one moment, the later one counts the earlier', async () => {
  const [a, b] = [await n1.lock('a'), await n2.lock('b')];
  const both = await Promise.all([
    n1.promises.announce('image', 6, a),
    n2.promises.announce('image', 6, b),
  ]);
  expect(both.map(({ earlierBytes }) => earlierBytes()).sort()).toEqual([0, 6]);
  const elsewhere = await n1.promises.announce('other', 5, await n1.lock('c'));
  expect(elsewhere.earlierBytes()).toBe(0);
});

test('what was promised before is known when the announcement resolves: as a promise, or as a record', async () => {
  const a = await n1.lock('a');
  const announced = await n1.promises.announce('image', 6, a);
  const record = { key: 'volumes/a', value: 'of 6 bytes' };
  const [b] = await Promise.all([
    n2.lock('b').then((lock) => n2.promises.announce('image', 4, lock)),
    a.guard([record, announced.end], { unlock: true }),
  ]);
  const isRecorded = n2.manager.mirror.record('volumes/a') !== undefined;
  expect(isRecorded ? 6 : b.earlierBytes()).toBe(6);
});

test('a promise ends with its operation, and counts no more when its lock is gone', async () => {
  const [a, b] = [await n1.lock('a'), await n1.lock('b')];
  await n1.promises.announce('image', 6, a);
  const withdrawn = await n1.promises.announce('image', 3, b);
  await withdrawn.withdraw();
  expect(await keys(n1)).toHaveLength(1);
  await a.unlock(); // As after a crash: the promise is left.
  const later = await n2.promises.announce('image', 1, await n2.lock('c'));
  expect(later.earlierBytes()).toBe(0);
  await n2.promises.announce('image', 1, await n2.lock('d'));
  expect(await keys(n2)).toHaveLength(2); // What was left is deleted.
});

test('the loss of the lock withdraws a promise', async () => {
  const a = await n1.lock('a');
  const announced = await n1.promises.announce('image', 6, a);
  await a.unlock();
  await expect(announced.withdraw()).resolves.toBeUndefined();
});

test('a promise that this release can not read promises nothing, and stops nobody', async () => {
  const guards = { guards: [], release: [] };
  await n1.store.commit({
    ...guards,
    writes: [{ key: 'promises/image/x', value: '{"version":9}' }],
  });
  const announced = await n1.promises.announce('image', 6, await n1.lock('a'));
  expect(announced.earlierBytes()).toBe(0);
});
