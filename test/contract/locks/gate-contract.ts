import { expect, test } from '@jest/globals';
import { LockDisabledError } from '../../../lib/lock/errors.ts';
import { beforePollMs } from '../../support/eventually.ts';
import type { ManagerBenchOf } from '../bench/manager-bench.ts';
import { queue, take } from '../bench/manager-bench.ts';
import { exclusive, shared } from '../bench/store-bench.ts';

/** Checks disabled locks: new requests are refused, holders go on. */
export function lockGateContract(benchOf: ManagerBenchOf): void {
  test('S23 S26 refuses a disabled lock at once, and says who disabled it and why', async () => {
    const { managers, store } = benchOf();
    const [n1, n2, n3] = managers;
    await n1.disable('db', { why: 'upgrade' });
    const refused = take(n2, 'db', { timeoutMs: 60_000 });
    await expect(refused).rejects.toThrow(LockDisabledError);
    await expect(refused).rejects.toThrow(/^db is disabled by host n1 since .+ \(upgrade\)/);
    const tried = n3.tryLock([shared('db')], { reason: 'Mount' });
    await expect(tried).rejects.toThrow(LockDisabledError);
    const several = take(n3, [exclusive('other'), shared('db')]);
    await expect(several).rejects.toThrow(LockDisabledError);
    expect(await store.tickets()).toEqual([]);
    expect(await n3.gates()).toMatchObject([{ lockName: 'db', host: 'n1', why: 'upgrade' }]);
    await n2.enable('db');
    await (await take(n3, 'db')).unlock();
    await expect(n1.disable('')).rejects.toThrow(RangeError);
  });

  test('S21 S22 disables and enables a lock repeatedly', async () => {
    const [n1, n2] = benchOf().managers;
    for (let times = 0; times < 10; times += 1) await n1.disable('db');
    await expect(take(n2, 'db')).rejects.toThrow(LockDisabledError);
    for (let times = 0; times < 10; times += 1) await n2.enable('db');
    await (await take(n2, 'db')).unlock();
    expect(await n1.gates()).toEqual([]);
  });

  test('rejects the waiters of a lock that is disabled, and leaves its holder alone', async () => {
    const { managers, store } = benchOf();
    const [n1, n2, n3] = managers;
    const held = await take(n1, 'db');
    const waiting = [await queue(n2, 'db'), await queue(n3, [shared('db'), exclusive('img')])];
    const startedAt = performance.now();
    await n2.disable('db');
    for (const { granted } of waiting) await expect(granted).rejects.toThrow(LockDisabledError);
    expect(performance.now() - startedAt).toBeLessThan(beforePollMs);
    expect(await store.tickets()).toEqual([held.ticket]);
    held.throwIfLost();
    await held.confirm();
    await held.guard([{ key: 'r', value: 'written' }]);
    expect(await n1.attach(held.ticket)).toBe(held);
    await held.unlock();
    await expect(take(n1, 'db')).rejects.toThrow(LockDisabledError);
    expect(await store.tickets()).toEqual([]);
  });

  test('grants nothing after a lock was disabled, in 30 races', async () => {
    const { managers, store } = benchOf();
    const [n1, n2, n3] = managers;
    for (let round = 0; round < 30; round += 1) {
      const held = await take(n1, 'db');
      const waiter = take(n2, 'db');
      const [, disabled] = await Promise.all([held.unlock(), n3.disable('db')]);
      expect(disabled).toBeUndefined();
      const outcome = await waiter.catch((error: unknown) => error);
      if (!(outcome instanceof LockDisabledError)) await (await waiter).unlock(); // The waiter won.
      await expect(take(n2, 'db')).rejects.toThrow(LockDisabledError);
      await n3.enable('db');
    }
    expect(await store.tickets()).toEqual([]);
  });
}
