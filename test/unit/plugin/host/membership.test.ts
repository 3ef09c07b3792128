// How a daemon joins its store and stays joined: a memory store behind a network that fails on
// command, and a manual clock.
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { LockManager } from '../../../../lib/lock/lock-manager.ts';
import { memoryState, memoryStore } from '../../../../lib/lock/stores/memory/store.ts';
import { HostIdentityInUseError, joinStore } from '../../../../plugin/host/membership.ts';
import { FaultyStore } from '../../../support/faulty-store.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

const ttlMs = 10_000;
const identity = 'machine.n1';

let clock: ManualClock;
let shared: ReturnType<typeof memoryState>;
let stopping: AbortController;
let managers: LockManager[];

beforeEach(() => {
  clock = new ManualClock();
  shared = memoryState(clock);
  stopping = new AbortController();
  managers = [];
});

afterEach(async () => {
  stopping.abort();
  const closed = Promise.all(managers.map((manager) => manager.close({ keep: false })));
  await clock.pass(2 * ttlMs);
  await closed;
});

/** One daemon's network and manager, and how often it has adopted mounts. */
function daemon(resume?: string, earlierSession?: string) {
  const network = new FaultyStore(memoryStore({ shared }));
  const keep = { resume, save: async () => {} };
  const manager = new LockManager({
    store: network,
    host: 'n1',
    owner: identity,
    ttlMs,
    clock,
    keep,
  });
  managers.push(manager);
  const adopted = { times: 0, answer: true };
  const recovery = {
    putBack: async () => {},
    adopt: async () => {
      adopted.times += 1;
      return adopted.answer;
    },
  };
  let outcome: 'waiting' | 'joined' | Error = 'waiting';
  return {
    network,
    manager,
    adopted,
    outcome: () => outcome,
    join: () => {
      const { signal } = stopping;
      joinStore({ manager, recovery, identity, ttlMs, earlierSession, clock, signal }).then(
        () => {
          outcome = 'joined';
        },
        (error) => {
          outcome = error;
        },
      );
    },
    token: async () => (await manager.inspect(`host/${identity}`))[0]?.token,
    holder: async () => (await manager.inspect(`host/${identity}`))[0]?.session,
  };
}

test('a daemon joins at once, and adopts the mounts under the host’s own lock', async () => {
  const one = daemon();
  one.join();
  await clock.pass(0);
  expect(one.outcome()).toBe('joined');
  expect(one.adopted.times).toBe(1);
  expect(await one.holder()).toBe((await one.manager.open()).sessionId);
});

test('a daemon that is restarted with its session finds its own lock', async () => {
  const first = daemon();
  first.join();
  await clock.pass(0);
  const { sessionId } = await first.manager.open();
  const token = await first.token();
  await first.manager.close({ keep: true });
  const next = daemon(sessionId);
  next.join();
  await clock.pass(0);
  expect(next.outcome()).toBe('joined');
  expect(await next.token()).toBe(token);
});

test('a daemon without its store repeats until the store answers', async () => {
  const one = daemon();
  one.network.cutOff();
  one.join();
  await clock.pass(30_000);
  expect(one.outcome()).toBe('waiting');
  expect(one.adopted.times).toBe(0);
  one.network.reconnect();
  await clock.pass(10_000);
  expect(one.outcome()).toBe('joined');
});

test('a daemon has not joined before all mounts are adopted', async () => {
  const one = daemon();
  one.adopted.answer = false;
  one.join();
  await clock.pass(3_500);
  expect(one.outcome()).toBe('waiting');
  expect(one.adopted.times).toBe(4);
  one.adopted.answer = true;
  await clock.pass(1_000);
  expect(one.outcome()).toBe('joined');
});

test('a second daemon with the identity of a live one fails', async () => {
  const [first, second] = [daemon(), daemon()];
  first.join();
  await clock.pass(0);
  second.join();
  await clock.pass(3 * ttlMs);
  expect(second.outcome()).toBeInstanceOf(HostIdentityInUseError);
  expect(second.adopted.times).toBe(0);
});

test('a daemon waits for the session of a dead one to expire', async () => {
  const [dead, next] = [daemon(), daemon()];
  dead.join();
  await clock.pass(0);
  dead.network.cutOff();
  // A session that was renewed lately counts as alive.
  await clock.pass(0.7 * ttlMs);
  next.join();
  await clock.pass(0.2 * ttlMs);
  expect(next.outcome()).toBe('waiting');
  await clock.pass(ttlMs);
  expect(next.outcome()).toBe('joined');
});

test('a daemon of a later boot waits until the session of the earlier one has expired', async () => {
  const before = daemon();
  before.join();
  await clock.pass(0);
  const { sessionId } = await before.manager.open();
  before.network.cutOff();
  const next = daemon(undefined, sessionId);
  next.join();
  await clock.pass(0.6 * ttlMs);
  expect(next.outcome()).toBe('waiting');
  await clock.pass(ttlMs);
  expect(next.outcome()).toBe('joined');
});

test('a copy of a machine that runs fails when the original is seen to renew the session', async () => {
  const original = daemon();
  original.join();
  await clock.pass(0);
  const { sessionId } = await original.manager.open();
  const copy = daemon(undefined, sessionId);
  copy.join();
  await clock.pass(0.9 * ttlMs);
  expect(copy.outcome()).toBe('waiting');
  await clock.pass(ttlMs);
  expect(copy.outcome()).toBeInstanceOf(HostIdentityInUseError);
  expect(await original.holder()).toBe(sessionId);
});

test('a daemon whose own lock was lost acquires it again, and adopts again', async () => {
  const one = daemon();
  one.join();
  await clock.pass(0);
  const before = await one.holder();
  one.network.cutOff();
  await clock.pass(2 * ttlMs);
  one.network.reconnect();
  const { times } = one.adopted;
  await clock.pass(ttlMs);
  expect(one.adopted.times).toBeGreaterThan(times);
  expect(await one.holder()).not.toBe(before);
  expect(await one.holder()).toBe((await one.manager.open()).sessionId);
});

test('a daemon that stops while it waits for its store ends its attempts', async () => {
  const one = daemon();
  one.network.cutOff();
  one.join();
  await clock.pass(3_000);
  stopping.abort();
  await clock.pass(5_000);
  one.network.reconnect();
  await clock.pass(30_000);
  expect(one.adopted.times).toBe(0);
});
