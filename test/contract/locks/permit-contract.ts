import { expect, test } from '@jest/globals';
import {
  LockContendedError,
  LockTimeoutError,
  PermitsDifferError,
} from '../../../lib/lock/errors.ts';
import type { Lock } from '../../../lib/lock/lock.ts';
import { lockQueueOf } from '../../../lib/lock/use/queue.ts';
import type { ManagerBenchOf } from '../bench/manager-bench.ts';
import { queue, take } from '../bench/manager-bench.ts';
import { eventually, exclusive, permit, shared } from '../bench/store-bench.ts';

/** Checks permits: a limited number of holders at once, in the order of their requests. */
export function lockPermitContract(benchOf: ManagerBenchOf): void {
  test('never grants more permits than there are, and all of them in order', async () => {
    const { managers, fixture, store } = benchOf();
    const count = fixture.isSlow ? 9 : 30;
    let holders = 0;
    let most = 0;
    const tokens: number[] = [];
    const work = async (lock: Lock) => {
      holders += 1;
      most = Math.max(most, holders);
      tokens.push(lock.token);
      await new Promise(setImmediate);
      lock.throwIfLost();
      holders -= 1;
    };
    const tasks = Array.from({ length: count }, (_, index) =>
      (managers[index % 3] ?? managers[0]).withLock({ name: 'pool', permits: 3 }, work),
    );
    await Promise.all(tasks);
    expect(most).toBeLessThanOrEqual(3);
    expect(tokens).toHaveLength(count);
    // Of three that are granted at once, any may learn of it first.
    for (const [index, token] of tokens.entries()) {
      const overtaken = tokens.slice(index + 1).filter((later) => later < token);
      expect(overtaken.length).toBeLessThan(3);
    }
    expect(await store.tickets()).toEqual([]);
  });

  test('hands a permit to the next waiter at once, and lets the others wait', async () => {
    const [n1, n2, n3] = benchOf().managers;
    const held = [await take(n1, [permit('pool')]), await take(n2, [permit('pool')])] as const;
    const third = await queue(n3, [permit('pool')]);
    const fourth = await queue(n1, [permit('pool')]);
    expect(third.blockers).toEqual(held.map(({ ticket }) => ticket));
    const { holders, waiting } = lockQueueOf(await n2.inspect('pool'));
    expect([holders.length, waiting.length]).toEqual([2, 2]);
    await held[1].unlock();
    const next = await third.granted;
    expect(fourth.endedAt).toBeUndefined();
    await next.confirm();
    await held[0].unlock();
    await (await fourth.granted).unlock();
    await next.unlock();
  });

  test('names those who have the permits', async () => {
    const [n1, n2, n3] = benchOf().managers;
    await using one = await take(n1, [permit('pool')], { detail: 'one' });
    await using two = await take(n2, [permit('pool')], { detail: 'two' });
    const waiter = await queue(n1, [permit('pool')], { timeoutMs: 60_000 });
    await n3.open();
    await eventually(() => expect(n3.mirror.tickets()).toHaveLength(3));
    const blockers = [one.ticket, two.ticket];
    const refused = take(n3, [permit('pool')], { timeoutMs: 0 });
    await expect(refused).rejects.toThrow(LockContendedError);
    await expect(refused).rejects.toMatchObject({
      blockers,
      message: expect.stringMatching(/: host .* one\); host .* two\)$/),
    });
    const late = take(n3, [permit('pool')], { timeoutMs: 50 });
    await expect(late).rejects.toThrow(LockTimeoutError);
    await expect(late).rejects.toMatchObject({ blockers });
    await one.unlock();
    await (await waiter.granted).unlock();
  });

  test('names five of many who have the permits, and counts the others', async () => {
    const [n1, n2] = benchOf().managers;
    const held = await Promise.all(Array.from({ length: 7 }, () => take(n1, [permit('pool', 7)])));
    await n2.open();
    await eventually(() => expect(n2.mirror.tickets()).toHaveLength(7));
    for (const timeoutMs of [0, 50]) {
      const refused = take(n2, [permit('pool', 7)], { timeoutMs });
      await expect(refused).rejects.toMatchObject({
        blockers: { length: 7 },
        message: expect.stringMatching(/: (host n1 \([^;]*\); ){5}and 2 more$/),
      });
    }
    await Promise.all(held.map((lock) => lock.unlock()));
  });

  test('refuses another number of permits at once, also a request that would wait', async () => {
    const { managers, store } = benchOf();
    const [n1, n2] = managers;
    await using held = await take(n1, [permit('pool', 3)]);
    for (const timeoutMs of [0, 60_000]) {
      const refused = take(n2, [permit('pool', 5)], { timeoutMs });
      await expect(refused).rejects.toThrow(PermitsDifferError);
      await expect(refused).rejects.toThrow(/pool has 3 permits, .* this request says 5/);
      await expect(refused).rejects.toThrow(
        /host n1 \(Mount, since .*\); say 3, or .* disable the lock/,
      );
    }
    expect(await store.tickets()).toEqual([held.ticket]);
  });

  test('takes a permit with other locks in one step', async () => {
    const [n1, n2] = benchOf().managers;
    await using one = await n1.lock(['db', { name: 'pool', permits: 1 }, shared('image')]);
    expect(one.ticket.locks).toEqual([exclusive('db'), permit('pool', 1), shared('image')]);
    expect(await n2.tryLock({ name: 'pool', permits: 1 })).toBeUndefined();
    await one.guard([{ key: 'db', value: `by ${one.token}` }], { unlock: true });
    await using other = await n2.tryLock({ name: 'pool', permits: 1 });
    await other?.confirm();
  });

  test.each([
    [{ name: 'pool', permits: 0 }, /lock pool can have 1 to 1000 permits, not 0/],
    [{ name: 'pool', permits: 1_001 }, /not 1001/],
    [{ name: 'pool', permits: 1.5 }, /not 1.5/],
    [[permit('pool', 2), permit('pool', 3)], /both with 2 permits and with 3 permits/],
    [[permit('pool', 2), shared('pool')], /both with 2 permits and as shared/],
    [
      Array.from({ length: 17 }, (_, index) => permit(`pool ${index}`)),
      /one with permits counts as 4: 17 with 17 of those are too many/,
    ],
  ])('throws RangeError for %j', async (locks, message) => {
    const { managers, store } = benchOf();
    await expect(managers[0].lock(locks)).rejects.toThrow(RangeError);
    await expect(managers[0].lock(locks)).rejects.toThrow(message);
    expect(await store.tickets()).toEqual([]);
  });

  test('merges permits of one name, and an exclusive request wins', async () => {
    const [n1] = benchOf().managers;
    await using merged = await n1.lock([permit('a'), permit('a'), permit('b'), 'b', shared('c')]);
    expect(merged.ticket.locks).toEqual([permit('a'), exclusive('b'), shared('c')]);
  });
}
