import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { LockLostError, LockTimeoutError } from '../../../lib/lock/errors.ts';
import type { Locks } from '../../../lib/lock/locks.ts';
import { noopLocks } from '../../../lib/lock/recipes/noop/noop-locks.ts';

import { LockPool } from '../../../lib/lock/recipes/pool/lock-pool.ts';
import {
  LockPoolCapacityError,
  LockPoolClaimedError,
  LockPoolExhaustedError,
  LockPoolInUseError,
  LockPoolNotAllocatedError,
} from '../../../lib/lock/recipes/pool/lock-pool-errors.ts';
import type { NumberedLock } from '../../../lib/lock/recipes/pool/numbered-lock.ts';
import type { ManagerBenchOf } from '../bench/manager-bench.ts';
import { take } from '../bench/manager-bench.ts';
import { poolsOf, reason } from './pools.ts';

/** Checks that each number of a pool is allocated to one owner. */
export function poolNumbersContract(benchOf: ManagerBenchOf): void {
  const pools = poolsOf(benchOf);

  test('S31 S32 has exactly the capacity it was created with, and refuses a capacity of 0', async () => {
    for (const capacity of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => pools(capacity)).toThrow(RangeError);
    }
    expect(() => pools(1, '')).toThrow(RangeError);
    const [p1, p2] = pools(33);
    expect(await p1.available()).toBe(33);
    expect(p2.retrieve(32).id).toBe(32);
    for (const id of [33, -1, 1.5, Number.NaN]) {
      const wrong = `lock pool containers has the numbers 0 to 32, not ${id}`;
      expect(() => p1.retrieve(id)).toThrow(new RangeError(wrong));
      await expect(p1.claim(id, 'web')).rejects.toThrow(RangeError);
      await expect(p1.free(id)).rejects.toThrow(RangeError);
    }
    expect(await p1.allocations()).toEqual(new Map());
    expect(await benchOf().store.tickets()).toEqual([]);
  });

  test('S37 S38 S39 S40 gives each owner the lowest free number until none is left', async () => {
    const [p1, p2, p3] = pools(7);
    for (let id = 0; id < 7; id += 1) {
      const by = [p1, p2, p3][id % 3] ?? p1;
      expect((await by.allocate(`c${id}`)).id).toBe(id);
      expect(await p1.available()).toBe(6 - id);
    }
    const exhausted = p2.allocate('c7');
    await expect(exhausted).rejects.toThrow(LockPoolExhaustedError);
    await expect(exhausted).rejects.toMatchObject({
      code: 'refused',
      pool: 'containers',
      capacity: 7,
      message:
        'lock pool containers: it has 7 numbers, and one more is wanted; ' +
        'free some, or renumber the pool with a larger capacity',
    });
    for (let id = 0; id < 7; id += 1) {
      await p1.free(id);
      expect((await p3.allocate(`again ${id}`)).id).toBe(id);
    }
    expect(await p2.allocations()).toEqual(
      new Map(Array.from({ length: 7 }, (_, id) => [id, `again ${id}`])),
    );
  });

  test('S37 S38 gives different numbers to owners that ask at once', async () => {
    const hosts = pools(20);
    const allocations = Array.from({ length: 21 }, (_, index) =>
      (hosts[index % 3] ?? hosts[0]).allocate(`c${index}`),
    );
    const results = await Promise.allSettled(allocations);
    const ids = results.flatMap((each) => (each.status === 'fulfilled' ? [each.value.id] : []));
    expect(ids.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, id) => id));
    const [refused] = results.flatMap((each) => (each.status === 'rejected' ? [each.reason] : []));
    expect(refused).toBeInstanceOf(LockPoolExhaustedError);
    const owners = await hosts[1].allocations();
    results.forEach((each, index) => {
      if (each.status === 'fulfilled') expect(owners.get(each.value.id)).toBe(`c${index}`);
    });
  });

  test('S33 S44 claims and frees a number only once', async () => {
    const [p1, p2] = pools(4);
    expect((await p1.claim(2, 'web')).id).toBe(2);
    const claimed = p2.claim(2, 'db');
    await expect(claimed).rejects.toThrow(LockPoolClaimedError);
    await expect(claimed).rejects.toMatchObject({ code: 'refused', id: 2, owner: 'web' });
    await expect(claimed).rejects.toThrow('number 2 is allocated to web');
    expect([(await p2.allocate('a')).id, (await p1.allocate('b')).id]).toEqual([0, 1]);
    expect((await p2.allocate('c')).id).toBe(3);
    await p2.free(2);
    const free = p1.free(2);
    await expect(free).rejects.toThrow(LockPoolNotAllocatedError);
    await expect(free).rejects.toThrow('lock pool containers: number 2 is not allocated');
    await p2.claim(2, 'db');
    expect((await p1.allocations()).get(2)).toBe('db');
  });

  test('S41 S44 starts again from the first number after all were freed', async () => {
    const [p1, p2] = pools(4);
    await p2.freeAll();
    for (const owner of ['a', 'b', 'c']) await p1.allocate(owner);
    await p2.freeAll();
    expect(await p1.available()).toBe(4);
    await p1.claim(1, 'd');
    expect((await p2.allocate('e')).id).toBe(0);
  });

  test('renumbers all objects in one step, also to another capacity', async () => {
    const [p1, p2] = pools(3);
    for (const owner of ['a', 'b', 'c']) await p1.allocate(owner);
    await p1.free(0);
    expect(await p2.renumber(['c', 'b', 'c'])).toEqual(
      new Map([
        ['c', 0],
        ['b', 1],
      ]),
    );
    expect(await p1.allocations()).toEqual(
      new Map([
        [0, 'c'],
        [1, 'b'],
      ]),
    );

    const [q1, q2] = pools(5);
    const differs: Record<string, (pool: LockPool) => Promise<unknown>> = {
      allocate: (pool) => pool.allocate('d'),
      claim: (pool) => pool.claim(2, 'd'),
      free: (pool) => pool.free(0),
      freeAll: (pool) => pool.freeAll(),
      available: (pool) => pool.available(),
      allocations: (pool) => pool.allocations(),
      held: (pool) => pool.held(),
      conflicts: (pool) => pool.conflicts(new Map()),
    };
    for (const use of Object.values(differs)) {
      await expect(use(q1)).rejects.toThrow(LockPoolCapacityError);
      await expect(use(q1)).rejects.toMatchObject({ actual: 3, configured: 5 });
      await expect(use(q1)).rejects.toThrow(
        'it has 3 numbers, not 5 as configured here; configure 3, or renumber the pool to change it',
      );
    }
    expect(await q1.renumber(['a', 'b', 'c', 'd', 'e'])).toHaveProperty('size', 5);
    expect(await q2.available()).toBe(0);
    await expect(p1.allocations()).rejects.toThrow('it has 5 numbers, not 3');
    await expect(p1.renumber(['a', 'b', 'c', 'd'])).rejects.toThrow(LockPoolExhaustedError);
    await expect(p1.renumber(['a', 'b', 'c', 'd'])).rejects.toThrow(/3 numbers, and 4 are wanted/);
    expect(await q2.allocations()).toHaveProperty('size', 5);
    expect(await p1.renumber([])).toEqual(new Map());
    expect(await p2.available()).toBe(3);
  });

  test('renumbers nothing while a lock of the pool is held, and names that lock', async () => {
    const [p1, p2] = pools(3);
    await p1.allocate('a');
    const lock = await p1.retrieve(2).lock({ reason });
    const refused = p2.renumber(['b']);
    await expect(refused).rejects.toThrow(LockPoolInUseError);
    await expect(refused).rejects.toThrow(/while its locks are held: number 2 by host n1 \(Start,/);
    await lock.unlock();
    expect(await p1.allocations()).toEqual(new Map([[0, 'a']]));
    await p2.renumber(['b']);
    expect(await p1.allocations()).toEqual(new Map([[0, 'b']]));
  });

  test('reports numbers that several objects use, or an object that does not own its number', async () => {
    const [p1, p2] = pools(8);
    for (const owner of ['a', 'b', 'c']) await p1.allocate(owner);
    const fine = new Map([
      ['a', 0],
      ['b', 1],
    ]);
    expect(await p2.conflicts(fine)).toEqual([]);
    const uses = new Map([...fine, ['e', 99], ['d', 0], ['f', 2], ['g', 5]]);
    expect(await p2.conflicts(uses)).toEqual([
      { id: 0, users: ['a', 'd'], owner: 'a' },
      { id: 2, users: ['f'], owner: 'c' },
      { id: 5, users: ['g'], owner: undefined },
      { id: 99, users: ['e'], owner: undefined },
    ]);
    await p1.renumber([...uses.keys()]);
    expect(await p2.conflicts(await p2.renumber([...uses.keys()]))).toEqual([]);
  });

  test('keeps pools apart, whatever their names', async () => {
    const names = ['a', 'a/0', 'a%2F0', 'ü %', '0'];
    const all = names.map((name) => pools(2, name)[0]);
    const numbered: NumberedLock[] = [];
    for (const pool of all) numbered.push(await pool.allocate(pool.name));
    const locks = await Promise.all(numbered.map((each) => each.tryLock({ reason })));
    expect(locks).not.toContain(undefined);
    for (const [index, pool] of all.entries()) {
      expect(await pool.allocations()).toEqual(new Map([[0, names[index]]]));
      expect(await pool.held()).toEqual([{ id: 0, ticket: locks[index]?.ticket }]);
      await pool.allocate('second');
    }
    await Promise.all(locks.map((lock) => lock?.unlock()));
  });

  test('changes nothing when the lock of the pool is lost, or not granted in time', async () => {
    const { managers, store } = benchOf();
    const [n1] = managers;
    const [p1, p2] = pools(3);
    await p1.allocate('a');
    const before = await store.record('pool/containers');
    const held = await take(n1, 'pool/containers');
    const late = p2.allocate('b', { timeoutMs: 50 });
    await expect(late).rejects.toThrow(LockTimeoutError);
    await expect(late).rejects.toThrow(/after 0\./);
    await expect(p1.free(0, { signal: AbortSignal.timeout(50) })).rejects.toMatchObject({
      code: 'cancelled',
    });
    const broken = p1.allocate('c').catch((error) => error);
    while ((await store.tickets('pool/containers')).length < 2) await pause(1);
    for (const ticket of (await store.tickets('pool/containers')).slice(1)) {
      await n1.breakLock(ticket);
    }
    expect(await broken).toBeInstanceOf(LockLostError);
    await held.unlock();
    expect(await store.record('pool/containers')).toEqual(before);
    expect((await p2.allocate('b')).id).toBe(1);
    expect(await store.tickets()).toEqual([]);
  });

  test('writes nothing when its lock goes to another between the read and the write', async () => {
    const { managers } = benchOf();
    const [n1] = managers;
    const [p1, p2] = pools(3);
    const racing: Locks = {
      ...noopLocks(),
      lock: (locks, options) => n1.lock(locks, options),
      record: async (key) => {
        const record = await n1.record(key);
        for (const ticket of await n1.inspect(key)) await n1.breakLock(ticket);
        await p2.allocate('a');
        return record;
      },
    };
    const late = new LockPool(racing, { name: 'containers', capacity: 3 });
    await expect(late.allocate('b')).rejects.toThrow(LockLostError);
    expect(await p1.allocations()).toEqual(new Map([[0, 'a']]));
  });

  test('reports a record that is not a pool', async () => {
    const { managers } = benchOf();
    await using lock = await take(managers[0], 'other');
    for (const value of ['{', `{"token":${lock.token}}`]) {
      await lock.guard([{ key: 'pool/containers', value }]);
      const unreadable = pools(3)[1].allocate('a');
      await expect(unreadable).rejects.toThrow("the record of lock pool containers can't be read");
      await expect(unreadable).rejects.toHaveProperty('cause');
    }
    await lock.guard([{ key: 'pool/containers', value: undefined }]);
    expect((await pools(3)[1].allocate('a')).id).toBe(0);
  });
}
