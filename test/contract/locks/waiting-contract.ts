import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import {
  LockCancelledError,
  LockContendedError,
  LockLostError,
  LockTimeoutError,
} from '../../../lib/lock/errors.ts';
import type { Ticket } from '../../../lib/lock/ticket.ts';
import { beforePollMs } from '../../support/eventually.ts';
import type { ManagerBenchOf } from '../bench/manager-bench.ts';
import { queue, take } from '../bench/manager-bench.ts';
import { eventually, exclusive, neverExpires, shared } from '../bench/store-bench.ts';

/** Checks requests that wait: time-outs, cancellation, order and loss. */
export function lockWaitingContract(benchOf: ManagerBenchOf): void {
  test('S16 S52 gives up at its time-out, names the holder, and leaves no ticket', async () => {
    const { fixture, managers, store } = benchOf();
    // `queue` needs the time to see the ticket in the store.
    const timeoutMs = fixture.isSlow ? 3_000 : 200;
    const [n1, n2, n3] = managers;
    await using held = await take(n1, 'db', { detail: 'container 1f' });
    const first = await queue(n2, 'db');
    await n3.open();
    // The store answers only the nearest ticket in the way; the mirror knows the holder.
    await eventually(() => expect(n3.mirror.tickets()).toHaveLength(2));
    const startedAt = performance.now();
    const second = await queue(n3, 'db', { timeoutMs });
    await expect(second.granted).rejects.toThrow(LockTimeoutError);
    expect((await store.tickets()).map(({ token }) => token)).toHaveLength(2);
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(timeoutMs - 1);
    const { since } = held.ticket.holder;
    await expect(second.granted).rejects.toMatchObject({
      code: 'timeout',
      lockNames: ['db'],
      blockers: [held.ticket],
      message: expect.stringMatching(
        `gave up waiting for db after \\d+\\.\\d s: host n1 \\(Mount, since ${since}, token ${held.token}, container 1f\\)`,
      ),
    });
    await held.unlock();
    await (await first.granted).unlock();
    expect(await store.tickets()).toEqual([]);
  });

  test('S58 leaves nothing when a waiter times out at the moment of the release', async () => {
    const { managers, store } = benchOf();
    const [n1, n2] = managers;
    for (let round = 0; round < 20; round += 1) {
      const held = await take(n1, 'db');
      const request = take(n2, 'db', { timeoutMs: 20 }).catch((error) => error);
      await pause(16 + (round % 8));
      await held.unlock();
      const outcome = await request;
      if (!(outcome instanceof LockTimeoutError)) await outcome.unlock();
      expect(await store.tickets()).toEqual([]);
    }
  });

  test('S4 S10 S17 cancels one waiter without disturbing anybody else', async () => {
    const { managers, store } = benchOf();
    const [n1, n2, n3] = managers;
    const held = await take(n1, 'db');
    const cancel = new AbortController();
    const first = await queue(n2, 'db', { signal: cancel.signal });
    const second = await queue(n3, 'db');
    cancel.abort(new Error('the client hung up'));
    await expect(first.granted).rejects.toThrow(LockCancelledError);
    await expect(first.granted).rejects.toMatchObject({
      code: 'cancelled',
      cause: new Error('the client hung up'),
    });
    expect(await store.tickets()).toHaveLength(2);
    held.throwIfLost();
    expect(second.endedAt).toBeUndefined();
    await held.unlock();
    await (await second.granted).unlock();
  });

  test('does nothing for a request that was cancelled before it was made', async () => {
    const { managers, store } = benchOf();
    const signal = AbortSignal.abort(new Error('too late'));
    for (const timeoutMs of [undefined, 0, 1_000]) {
      const options = timeoutMs === undefined ? { signal } : { signal, timeoutMs };
      await expect(take(managers[0], 'db', options)).rejects.toThrow(LockCancelledError);
    }
    expect(await store.tickets()).toEqual([]);
  });

  test('S17 never holds a lock whose request was cancelled at the moment of the grant', async () => {
    const { managers, store } = benchOf();
    const [n1, n2] = managers;
    for (let round = 0; round < 50; round += 1) {
      const held = await take(n1, 'db');
      const cancel = new AbortController();
      const { granted } = await queue(n2, 'db', { signal: cancel.signal });
      const released = held.unlock();
      for (let tick = 0; tick < round % 10; tick += 1) await Promise.resolve();
      if (round % 2 === 0) await new Promise(setImmediate);
      cancel.abort();
      const outcome = await granted.catch((error) => error);
      await released;
      if (!(outcome instanceof LockCancelledError)) await outcome.unlock();
      expect(await store.tickets()).toEqual([]);
    }
  });

  test('never holds a lock whose request was cancelled during its first try', async () => {
    const { managers, store } = benchOf();
    for (const timeoutMs of [0, 1_000]) {
      const cancel = new AbortController();
      const request = take(managers[0], 'db', { signal: cancel.signal, timeoutMs });
      cancel.abort();
      await expect(request).rejects.toThrow(LockCancelledError);
      expect(await store.tickets()).toEqual([]);
    }
  });

  test('S46 waits without limit when no time-out is given', async () => {
    const [n1, n2] = benchOf().managers;
    const held = await take(n1, 'db');
    const { granted } = await queue(n2, 'db');
    const outcome = await Promise.race([granted, pause(1_500, 'still waiting')]);
    expect(outcome).toBe('still waiting');
    await held.unlock();
    await (await granted).unlock();
  });

  test('S78 does not upgrade a shared lock: an exclusive request waits for its own shared lock', async () => {
    const { managers, store } = benchOf();
    const [n1] = managers;
    const reader = await take(n1, [shared('db')]);
    const upgrade = take(n1, [exclusive('db')], { timeoutMs: 50 });
    await expect(upgrade).rejects.toMatchObject({ code: 'timeout', blockers: [reader.ticket] });
    await reader.confirm();
    const next = await queue(n1, [exclusive('db')]);
    await reader.unlock();
    const writer = await next.granted;
    expect(writer.token).toBeGreaterThan(reader.token);
    await writer.unlock();
    expect(await store.tickets()).toEqual([]);
  });

  test('S51 calls `onWait` with the nearest blocker, each time that it changes', async () => {
    const [n1, n2, n3] = benchOf().managers;
    const held = await take(n1, 'db');
    const second = await queue(n2, 'db');
    const seen: (readonly Ticket[])[] = [];
    const third = take(n3, 'db', { onWait: (blockers) => seen.push(blockers) });
    await eventually(() => expect(seen).toHaveLength(1));
    await held.unlock();
    const lock = await second.granted;
    expect(seen).toEqual([[lock.ticket]]);
    await lock.unlock();
    await (await third).unlock();
  });

  test('rejects with what `onWait` throws, and leaves nothing', async () => {
    const { managers, store } = benchOf();
    await using held = await take(managers[0], 'db');
    const onWait = () => {
      throw new LockContendedError(['db'], []);
    };
    await expect(take(managers[1], 'db', { onWait })).rejects.toThrow(LockContendedError);
    expect(await store.tickets()).toEqual([held.ticket]);
  });

  test('F10 rejects with what the promise of `onWait` rejects with, and leaves nothing', async () => {
    const { managers, store } = benchOf();
    await using held = await take(managers[0], 'db');
    const isQueued = Promise.withResolvers<void>();
    const isRefused = Promise.withResolvers<void>();
    const onWait = () => {
      isQueued.resolve();
      return isRefused.promise;
    };
    const request = take(managers[1], 'db', { onWait });
    await isQueued.promise;
    expect(await store.tickets()).toHaveLength(2);
    isRefused.reject(new TypeError('the page of the user is closed'));
    await expect(request).rejects.toThrow(TypeError);
    expect(await store.tickets()).toEqual([held.ticket]);
  });

  test('F10 keeps a lock whose `onWait` rejects after the grant', async () => {
    const [n1, n2] = benchOf().managers;
    const held = await take(n1, 'db');
    const isQueued = Promise.withResolvers<void>();
    const isRefused = Promise.withResolvers<void>();
    const onWait = () => {
      isQueued.resolve();
      return isRefused.promise;
    };
    const request = take(n2, 'db', { onWait });
    await isQueued.promise;
    await held.unlock();
    await using lock = await request;
    isRefused.reject(new Error('too late'));
    await lock.confirm();
    lock.throwIfLost();
  });

  test('does not call `onWait` for a request that does not wait', async () => {
    const { managers, store } = benchOf();
    const onWait = () => {
      throw new Error('called');
    };
    await using held = await take(managers[0], 'db', { onWait });
    const refused = take(managers[1], 'db', { onWait, timeoutMs: 0 });
    await expect(refused).rejects.toThrow(LockContendedError);
    expect(await store.tickets()).toEqual([held.ticket]);
  });

  test('rejects a waiter at once when its ticket is broken', async () => {
    const { managers, store } = benchOf();
    const [n1, n2, n3] = managers;
    await using held = await take(n1, 'db');
    const waiter = await queue(n2, 'db');
    const ticket = (await n3.inspect('db'))[1];
    expect(ticket?.holder.host).toBe(n2 === n1 ? 'n1' : 'n2');
    const brokenAt = performance.now();
    if (ticket) await n3.breakLock(ticket);
    await expect(waiter.granted).rejects.toThrow(LockLostError);
    expect((waiter.endedAt ?? Number.POSITIVE_INFINITY) - brokenAt).toBeLessThan(beforePollMs);
    expect(await store.tickets()).toEqual([held.ticket]);
    held.throwIfLost();
  });

  test('S62 S68 S69 rejects a waiter at once when its session ends, and never grants it', async () => {
    const { managers, fixture, store } = benchOf();
    if (fixture.expireSession === undefined) return neverExpires(store);
    const [n1] = managers;
    const n4 = await benchOf().host();
    const held = await take(n1, 'db');
    const waiter = await queue(n4, 'db');
    const { sessionId } = await n4.open();
    const startedAt = performance.now();
    await fixture.expireSession(sessionId);
    await expect(waiter.granted).rejects.toThrow(LockLostError);
    expect((waiter.endedAt ?? Number.POSITIVE_INFINITY) - startedAt).toBeLessThan(beforePollMs);
    await held.unlock();
    expect(await store.tickets()).toEqual([]);
    // The manager opens a new session by itself.
    await (await take(n4, 'db')).unlock();
    expect((await n4.open()).sessionId).not.toBe(sessionId);
  });

  test('S65 keeps the third waiting when the second is cancelled', async () => {
    const [n1, n2, n3] = benchOf().managers;
    const held = await take(n1, 'db');
    const cancel = new AbortController();
    const second = await queue(n2, 'db', { signal: cancel.signal });
    const third = await queue(n3, 'db');
    cancel.abort();
    await expect(second.granted).rejects.toThrow(LockCancelledError);
    await pause(50);
    expect(third.endedAt).toBeUndefined();
    await held.unlock();
    await (await third.granted).unlock();
  });

  test('rejects the waiters of a manager that is closed, and leaves nothing', async () => {
    const { managers, store } = benchOf();
    await using held = await take(managers[0], 'db');
    const n4 = await benchOf().host();
    await take(n4, 'other');
    const waiter = await queue(n4, 'db');
    await n4.close({ keep: false });
    await expect(waiter.granted).rejects.toThrow(LockCancelledError);
    expect(await store.tickets()).toEqual([held.ticket]);
    await expect(take(n4, 'third')).rejects.toThrow(LockCancelledError);
    expect(await n4.tryLock([exclusive('x')], { reason: 'Mount' }).catch(({ code }) => code)).toBe(
      'cancelled',
    );
  });
}
