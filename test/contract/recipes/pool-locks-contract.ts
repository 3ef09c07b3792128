import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { LockTimeoutError } from '../../../lib/lock/errors.ts';
import type { ManagerBenchOf } from '../bench/manager-bench.ts';
import { queue, take } from '../bench/manager-bench.ts';
import { poolsOf, reason } from './pools.ts';

/** Checks that a numbered lock is an ordinary lock, whoever owns the number. */
export function poolLocksContract(benchOf: ManagerBenchOf): void {
  const pools = poolsOf(benchOf);

  test('S36 allocates, locks, unlocks and frees a number', async () => {
    const { store } = benchOf();
    const [p1, p2] = pools(4);
    const numbered = await p1.allocate('web');
    const same = p2.retrieve(numbered.id);
    const lock = await numbered.lock({ reason });
    expect(await same.tryLock({ reason })).toBeUndefined();
    await lock.unlock();
    await (await same.lock({ reason })).unlock();
    await p2.free(numbered.id);
    expect(await store.tickets()).toEqual([]);
  });

  test('S34 S35 unlocks twice without releasing the lock of the next holder', async () => {
    const [p1, p2] = pools(4);
    const first = await p1.retrieve(0).lock({ reason });
    await first.unlock();
    const second = await p2.retrieve(0).lock({ reason });
    await first.unlock();
    await second.confirm();
    await second.unlock();
  });

  test('S42 keeps the second of two waiting as long as the first holds the lock', async () => {
    const [p1, p2] = pools(4);
    const lock = await p1.retrieve(3).lock({ reason });
    const startedAt = performance.now();
    const waiting = p2.retrieve(3).lock({ reason });
    const released = pause(300).then(() => lock.unlock());
    const inVain = p1.retrieve(3).lock({ reason, timeoutMs: 50 });
    await Promise.all([
      expect(inVain).rejects.toThrow(LockTimeoutError),
      waiting.then((next) => next.unlock()),
      released,
    ]);
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(300);
  });

  test('S43 holds two numbers at once and releases them in either order', async () => {
    const { store } = benchOf();
    const [p1, p2] = pools(4);
    const hold = () => Promise.all([0, 1].map((id) => p1.retrieve(id).lock({ reason })));
    for (const order of [[0, 1] as const, [1, 0] as const]) {
      const locks = await hold();
      for (const id of order) {
        await locks[id]?.unlock();
        expect(
          await p2
            .retrieve(id)
            .tryLock({ reason })
            .then((lock) => lock?.unlock()),
        ).toBe(undefined);
      }
    }
    expect(await store.tickets()).toEqual([]);
  });

  test('takes several numbers in one step, also when one is named twice', async () => {
    const [n1] = benchOf().managers;
    const [p1, p2] = pools(4);
    const requests = [2, 1, 2].map((id) => p1.retrieve(id).request);
    const lock = await take(n1, requests);
    const held = await p2.held();
    expect(held).toEqual([1, 2].map((id) => ({ id, ticket: lock.ticket })));
    await lock.unlock();
  });

  test('lets a freed number be locked, and a locked number be freed', async () => {
    const [p1, p2] = pools(4);
    const stale = await p1.allocate('web');
    const lock = await stale.lock({ reason });
    await p1.free(stale.id);
    await lock.confirm();
    const next = await p2.allocate('db');
    expect(next.id).toBe(stale.id);
    expect(await next.tryLock({ reason })).toBeUndefined();
    await lock.unlock();
    await p2.free(next.id);
    await (await stale.lock({ reason })).unlock();
    expect(await p1.available()).toBe(4);
  });

  test('S45 lists the locked numbers with their holders, and no waiters', async () => {
    const [n1, n2] = benchOf().managers;
    const [p1, p2, p3] = pools(200);
    await p1.allocate('web');
    const own = await p1.retrieve(0).lock({ reason, detail: 'web' });
    const waiting = await queue(n2, [p2.retrieve(0).request]);
    const unallocated = await p2.retrieve(123).lock({ reason: 'Stop' });
    await using _ = await take(n1, 'pool/containers2/7');
    const held = await p3.held();
    expect(held).toEqual([
      { id: 0, ticket: own.ticket },
      { id: 123, ticket: unallocated.ticket },
    ]);
    expect(held[0]?.ticket.holder).toMatchObject({ host: 'n1', reason, detail: 'web' });
    await own.unlock();
    const next = await waiting.granted;
    expect((await p3.held())[0]).toEqual({ id: 0, ticket: next.ticket });
    await Promise.all([next.unlock(), unallocated.unlock()]);
    expect(await p3.held()).toEqual([]);
  });
}
