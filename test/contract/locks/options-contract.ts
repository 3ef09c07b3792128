import { expect, test } from '@jest/globals';
import { LockLostError, LockUnsupportedError } from '../../../lib/lock/errors.ts';
import type { ManagerBenchOf } from '../bench/manager-bench.ts';
import { queue, take } from '../bench/manager-bench.ts';
import { eventually, exclusive, shortTtlMs } from '../bench/store-bench.ts';

/** Checks the options of a request, and what a manager lists. */
export function lockOptionsContract(benchOf: ManagerBenchOf): void {
  test('S28 S73 ends a lock at the end of its longest hold', async () => {
    const { managers, store } = benchOf();
    const [n1, n2] = managers;
    // Long enough for the second request to be queued behind it on a busy machine.
    const lock = await take(n1, 'db', { maxHoldMs: 1_500 });
    const next = await queue(n2, 'db');
    const successor = await next.granted;
    expect(lock.signal.reason).toBeInstanceOf(LockLostError);
    expect(() => lock.throwIfLost()).toThrow(/its longest hold has passed/);
    await expect(lock.guard([{ key: 'r', value: 'late' }])).rejects.toThrow(LockLostError);
    await lock.unlock();
    await successor.confirm();
    await successor.unlock();
    expect(await store.tickets()).toEqual([]);
  });

  test('S28 counts the longest hold from the grant, not from the request', async () => {
    const [n1, n2] = benchOf().managers;
    const first = await take(n1, 'db');
    const second = await queue(n2, 'db', { maxHoldMs: 400 });
    await new Promise((resolve) => setTimeout(resolve, 500));
    await first.unlock();
    const lock = await second.granted;
    lock.throwIfLost();
    await lock.confirm();
    await eventually(() => expect(lock.signal.aborted).toBe(true));
  });

  test('S28 notices the end of the longest hold on a check, however late timers are', async () => {
    const lock = await take(benchOf().managers[0], 'db', { maxHoldMs: 30 });
    const until = performance.now() + 60;
    while (performance.now() < until); // Nothing else can run during this.
    expect(() => lock.throwIfLost()).toThrow(LockLostError);
  });

  test('defect A14, S70 refuses durations that are not whole milliseconds in range', async () => {
    const { managers, store } = benchOf();
    for (const bad of [1.5, -1, Number.NaN, Number.NEGATIVE_INFINITY, 1e16]) {
      for (const option of ['timeoutMs', 'maxHoldMs', 'ttlMs']) {
        const refused = take(managers[0], 'db', { [option]: bad });
        await expect(refused).rejects.toThrow(RangeError);
      }
    }
    await expect(take(managers[0], 'db', { maxHoldMs: 0 })).rejects.toThrow(RangeError);
    for (const ttlMs of [999, 2 ** 31]) {
      await expect(take(managers[0], 'db', { ttlMs })).rejects.toThrow(RangeError);
    }
    expect(await store.tickets()).toEqual([]);
  });

  test('F8 refuses names, keys and values that are not valid Unicode', async () => {
    const { managers, store } = benchOf();
    const [n1] = managers;
    const half = '\ud83d';
    const options = [
      { mark: half },
      { read: half },
      { read: 'r', readBelow: half },
      { claim: { prefix: half, value: '' } },
      { claim: { prefix: 'c', value: half } },
    ];
    await using lock = await take(n1, 'db');
    const refused = [
      ...options.map((option) => () => take(n1, 'other', option)),
      () => take(n1, half),
      () => take(n1, half, { timeoutMs: 0 }),
      () => n1.disable(half),
      () => n1.enable(half),
      () => n1.inspect(half),
      () => n1.record(half),
      () => lock.guard([{ key: half, value: 'v' }]),
      () => lock.guard([{ key: 'k', value: half }], { unlock: true }),
    ];
    for (const call of refused) await expect(call()).rejects.toThrow(RangeError);
    lock.throwIfLost();
    expect(await store.tickets()).toEqual([lock.ticket]);
    const messages = (await n1.health()).map(({ message }) => message);
    expect(messages.filter((message) => /the release of/.test(message))).toEqual([]);
  });

  test('F10 waits and holds without limit when asked to', async () => {
    const [n1, n2] = benchOf().managers;
    const forEver = Number.POSITIVE_INFINITY;
    const held = await take(n1, 'db', { timeoutMs: forEver, maxHoldMs: forEver });
    const { granted } = await queue(n2, 'db', { timeoutMs: forEver, maxHoldMs: 2 ** 40 });
    held.throwIfLost();
    await held.unlock();
    const next = await granted;
    await next.confirm();
    next.throwIfLost();
    await next.unlock();
  });

  test('gives a request the TTL that it asks for, in a session of its own', async () => {
    const { managers, store, fixture } = benchOf();
    const [n1, n2] = managers;
    const lock = await take(n1, 'db');
    const asked = take(n1, 'other', { ttlMs: shortTtlMs });
    if (!store.properties.sessionsExpire) {
      await expect(asked).rejects.toThrow(LockUnsupportedError);
      return;
    }
    const [other, third] = [await asked, await take(n1, 'third', { ttlMs: shortTtlMs })];
    expect(other.ticket.session).toBe(third.ticket.session);
    expect(other.ticket.session).not.toBe(lock.ticket.session);
    expect(await n1.attach(other.ticket)).toBe(other);
    const next = await queue(n2, 'other');
    await fixture.expireSession?.(other.ticket.session);
    await (await next.granted).unlock();
    await eventually(() => expect(third.signal.aborted).toBe(true));
    await lock.confirm();
    await Promise.all([lock.unlock(), other.unlock(), third.unlock()]);
    // The session is replaced when it is needed again.
    await (await take(n1, 'other', { ttlMs: shortTtlMs })).unlock();
    expect(await store.tickets()).toEqual([]);
  });

  test('refuses more than nine different TTLs at a time, and closes sessions that nobody uses', async () => {
    const { managers, store } = benchOf();
    if (!store.properties.sessionsExpire) return;
    const [n1] = managers;
    const takeAll = (from: number) =>
      Promise.all(
        Array.from({ length: 8 }, (_, index) =>
          take(n1, `db ${index}`, { ttlMs: (from + index) * 1000 }),
        ),
      );
    const taking = takeAll(10);
    const refuseOneMore = () =>
      expect(take(n1, 'other', { ttlMs: 18_000 })).rejects.toThrow(
        /at most 9 different TTLs at a time.*; use one of 10000, 11000, .*17000.* ms/,
      );
    // The sessions are still being opened; then they have tickets.
    await refuseOneMore();
    const [kept, ...ended] = await taking;
    await refuseOneMore();
    await Promise.all(ended.map((lock) => lock.unlock()));
    // Their sessions make room for others, but for that of the lock that is held.
    for (let seconds = 18; seconds < 40; seconds += 1) {
      await (await take(n1, 'other', { ttlMs: seconds * 1000 })).unlock();
    }
    await kept?.confirm();
    await kept?.unlock();
    const next = await takeAll(40);
    for (const lock of next) lock.throwIfLost();
    await Promise.all(next.map((lock) => lock.unlock()));
  });

  test('S80 lists all tickets, and those of one lock in order, from the store', async () => {
    const [n1, n2, n3] = benchOf().managers;
    const a = await take(n1, 'a', { holder: 'job 7', detail: 'nightly' });
    const waiting = await queue(n2, [exclusive('a'), exclusive('b')]);
    expect(await n3.list()).toMatchObject([
      { token: a.token, holder: { host: 'job 7', reason: 'Mount', detail: 'nightly' } },
      { locks: [exclusive('a'), exclusive('b')] },
    ]);
    expect(await n3.inspect('a')).toHaveLength(2);
    expect(await n3.inspect('b')).toHaveLength(1);
    await a.unlock();
    await (await waiting.granted).unlock();
    expect(await n3.list()).toEqual([]);
  });

  test('reads a record from the store', async () => {
    const [n1, n2] = benchOf().managers;
    expect(await n2.record('r')).toBeUndefined();
    await n1.withLock([exclusive('db')], { reason: 'Mount' }, (lock) =>
      lock.guard([{ key: 'r', value: 'one' }]),
    );
    expect(await n2.record('r')).toMatchObject({ key: 'r', value: 'one' });
  });

  test('reports no error when nothing is wrong', async () => {
    const [n1] = benchOf().managers;
    await (await take(n1, 'db')).unlock();
    const mentioned = (await n1.health()).filter(({ severity }) => severity === 'error');
    expect(mentioned).toEqual([]);
  });
}
