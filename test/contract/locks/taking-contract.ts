import { expect, test } from '@jest/globals';
import { LockContendedError } from '../../../lib/lock/errors.ts';
import type { Lock } from '../../../lib/lock/lock.ts';
import { beforePollMs } from '../../support/eventually.ts';
import type { ManagerBenchOf } from '../bench/manager-bench.ts';
import { queue, take } from '../bench/manager-bench.ts';
import { exclusive, shared } from '../bench/store-bench.ts';

/** Checks how locks are granted: order, modes, several at once, and limits. */
export function lockTakingContract(benchOf: ManagerBenchOf): void {
  test('S1 S6 S9 takes a lock, releases it, and takes it again with a larger token', async () => {
    const { managers, store } = benchOf();
    let token = 0;
    for (const manager of [...managers, ...managers]) {
      const lock = await take(manager, 'db');
      expect(lock.token).toBeGreaterThan(token);
      token = lock.token;
      expect(await manager.inspect('db')).toEqual([lock.ticket]);
      await lock.unlock();
      expect(await store.tickets()).toEqual([]);
    }
  });

  test('S3 does not let locks of different names conflict', async () => {
    const [n1, n2] = benchOf().managers;
    await using _ = await take(n1, 'a');
    await using other = await n2.tryLock([exclusive('b')], { reason: 'Mount' });
    expect(other).toBeDefined();
  });

  test('S2 S11 refuses at once when asked not to wait, and names the holder', async () => {
    const [n1, n2, n3] = benchOf().managers;
    await using held = await take(n1, 'db', { detail: 'container 1f' });
    expect(await n2.tryLock([exclusive('db')], { reason: 'Mount' })).toBeUndefined();
    const refusal = take(n3, 'db', { timeoutMs: 0 });
    await expect(refusal).rejects.toThrow(LockContendedError);
    await expect(refusal).rejects.toMatchObject({
      code: 'contended',
      lockNames: ['db'],
      blockers: [held.ticket],
      message: expect.stringContaining(`host n1 (Mount, since ${held.ticket.holder.since}, token`),
    });
    expect(await n1.inspect('db')).toEqual([held.ticket]);
  });

  test('reads a record for the grant, after a wait as of the end of the wait', async () => {
    const [n1, n2] = benchOf().managers;
    const key = 'volumes/db';
    const reading = { reason: 'Mount', read: key };
    const first = await n1.lock([exclusive('db')], reading);
    expect(first.read).toEqual({ record: undefined });
    const waits = Promise.withResolvers<void>();
    const second = n2.lock([exclusive('db')], { ...reading, onWait: () => waits.resolve() });
    await waits.promise;
    await first.guard([{ key, value: 'one', expectedRevision: 0 }], { unlock: true });
    const found = { read: { record: { key, value: 'one' } } };
    await using after = await second;
    expect(after).toMatchObject(found);
    await after.unlock();
    await using tried = await n1.lock([exclusive('db')], { ...reading, timeoutMs: 0 });
    expect(tried).toMatchObject(found);
    await tried.unlock();
    await using plain = await take(n1, 'db');
    expect(plain.read).toBeUndefined();
  });

  test('S47 S54 takes a lock with a wait after a refused try, and releases a granted try', async () => {
    const { managers, store } = benchOf();
    const [n1, n2] = managers;
    const held = await take(n1, 'db');
    {
      await using tried = await n2.tryLock([exclusive('db')], { reason: 'Mount' });
      expect(tried).toBeUndefined();
    }
    const { granted } = await queue(n2, 'db');
    await held.unlock();
    await (await granted).unlock();
    {
      await using tried = await n2.tryLock([exclusive('db')], { reason: 'Mount' });
      expect(await store.tickets()).toEqual([tried?.ticket]);
    }
    expect(await store.tickets()).toEqual([]);
  });

  test('S8 runs 30 tasks under one lock, one after another', async () => {
    const { managers, store } = benchOf();
    let running = 0;
    let done = 0;
    const tokens: number[] = [];
    const tasks = Array.from({ length: 30 }, (_, index) =>
      managers[index % 3]?.withLock([exclusive('db')], { reason: 'Mount' }, async (lock) => {
        running += 1;
        expect(running).toBe(1);
        await Promise.resolve();
        lock.throwIfLost();
        tokens.push(lock.token);
        running -= 1;
        done += 1;
      }),
    );
    await Promise.all(tasks);
    expect(done).toBe(30);
    expect(tokens).toEqual(tokens.toSorted((a, b) => a - b));
    expect(await store.tickets()).toEqual([]);
  });

  test('returns the result of the work, and releases the lock when the work fails', async () => {
    const { managers, store } = benchOf();
    const [n1] = managers;
    const options = { reason: 'Mount' };
    expect(await n1.withLock([exclusive('db')], options, async () => 42)).toBe(42);
    const failing = n1.withLock([exclusive('db')], options, async () => {
      throw new Error('broken work');
    });
    await expect(failing).rejects.toThrow('broken work');
    expect(await store.tickets()).toEqual([]);
  });

  test('S5 S64 grants 20 waiters in the order of their requests', async () => {
    const { managers } = benchOf();
    const held = await take(managers[0], 'db');
    const order: number[] = [];
    const done: Promise<void>[] = [];
    for (let index = 0; index < 20; index += 1) {
      const { granted } = await queue(managers[index % 3] ?? managers[0], 'db');
      done.push(
        granted.then(async (lock) => {
          order.push(index);
          await lock.unlock();
        }),
      );
    }
    const startedAt = performance.now();
    await held.unlock();
    await Promise.all(done);
    expect(performance.now() - startedAt).toBeLessThan(beforePollMs);
    expect(order).toEqual(Array.from({ length: 20 }, (_, index) => index));
  });

  test('S66 lets readers share a lock, and no reader overtake a writer', async () => {
    const [n1, n2, n3] = benchOf().managers;
    const first = await take(n1, [shared('db')]);
    const second = await take(n2, [shared('db')]);
    const writer = await queue(n3, 'db');
    expect(await n1.tryLock([shared('db')], { reason: 'Mount' })).toBeUndefined();
    const late = await queue(n1, [shared('db')]);
    await first.unlock();
    await second.unlock();
    const written = await writer.granted;
    expect(late.endedAt).toBeUndefined();
    await written.unlock();
    await (await late.granted).unlock();
  });

  test('S71 takes several locks in one step, or none of them', async () => {
    const { managers, store } = benchOf();
    const [n1, n2, n3] = managers;
    const b = await take(n1, 'b');
    const refused = n2.tryLock([exclusive('a'), exclusive('b')], { reason: 'Mount' });
    expect(await refused).toBeUndefined();
    expect(await store.tickets()).toEqual([b.ticket]);
    const both = await queue(n2, [exclusive('a'), exclusive('b')]);
    const behind = await queue(n3, [exclusive('a'), exclusive('c')]);
    await b.unlock();
    const lock = await both.granted;
    expect(behind.endedAt).toBeUndefined();
    await lock.unlock();
    await (await behind.granted).unlock();
    expect(await store.tickets()).toEqual([]);
  });

  test('merges a name that is given twice, exclusive if either is', async () => {
    const [n1, n2] = benchOf().managers;
    await using lock = await take(n1, [shared('a'), exclusive('a'), shared('a'), shared('b')]);
    expect(lock.ticket.locks).toEqual([exclusive('a'), shared('b')]);
    expect(await n2.tryLock([shared('a')], { reason: 'Mount' })).toBeUndefined();
    await using both = await n2.tryLock([shared('b')], { reason: 'Mount' });
    expect(both).toBeDefined();
  });

  test('takes 64 locks at once, and refuses 65, none, an empty name or an invalid time-out', async () => {
    const { managers, store } = benchOf();
    const [n1] = managers;
    const many = Array.from({ length: 65 }, (_, index) => exclusive(`lock ${index}`));
    await (await take(n1, many.slice(1))).unlock();
    for (const wrong of [many, [], [exclusive('')]]) {
      await expect(take(n1, wrong)).rejects.toThrow(RangeError);
    }
    for (const timeoutMs of [-1, Number.NaN, 1e16]) {
      await expect(take(n1, 'db', { timeoutMs })).rejects.toThrow(RangeError);
    }
    expect(await store.tickets()).toEqual([]);
  });

  test('S18 grants one of two simultaneous tries, every time', async () => {
    const { managers, fixture } = benchOf();
    const [n1, n2] = managers;
    const rounds = fixture.isSlow ? 100 : 1_000;
    const wins = [0, 0];
    for (let round = 0; round < rounds; round += 1) {
      const tries = [n1, n2].map((by) => by.tryLock([exclusive('db')], { reason: 'Mount' }));
      const locks: (Lock | undefined)[] = await Promise.all(tries);
      const winner = locks.findIndex((lock) => lock !== undefined);
      expect(locks.filter((lock) => lock !== undefined)).toHaveLength(1);
      wins[winner] = (wins[winner] ?? 0) + 1;
      await locks[winner]?.unlock();
    }
    expect((wins[0] ?? 0) + (wins[1] ?? 0)).toBe(rounds);
  });
}
