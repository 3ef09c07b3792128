import { expect, test } from '@jest/globals';
import { LockLostError, RecordConflictError } from '../../../lib/lock/errors.ts';
import type { ManagerBenchOf } from '../bench/manager-bench.ts';
import { queue, take } from '../bench/manager-bench.ts';
import { eventually, exclusive, longTtlMs, neverExpires } from '../bench/store-bench.ts';

/** Checks a held lock: its signal, its unlock, its loss and its guarded writes. */
export function lockHoldingContract(benchOf: ManagerBenchOf): void {
  test('S1 S49 aborts the signal at the unlock with the reason "released", not "lost"', async () => {
    const lock = await take(benchOf().managers[0], 'db');
    expect(lock.signal.aborted).toBe(false);
    lock.throwIfLost();
    await lock.confirm();
    const unlocked = lock.unlock();
    expect(lock.signal.reason).toEqual(new LockLostError('the lock was released'));
    expect(() => lock.throwIfLost()).toThrow(LockLostError);
    await unlocked;
    await expect(lock.confirm()).rejects.toThrow(LockLostError);
  });

  test('defect A9, S15 S63 S67 unlocks repeatedly, and never touches the successor', async () => {
    const { managers, store } = benchOf();
    const [n1, n2] = managers;
    const lock = await take(n1, 'db');
    const next = await queue(n2, 'db');
    await Promise.all([lock.unlock(), lock.unlock()]);
    const successor = await next.granted;
    await lock.unlock();
    await lock[Symbol.asyncDispose]();
    await n1.breakLock(lock.ticket);
    await successor.confirm();
    expect(await store.tickets()).toEqual([successor.ticket]);
    await successor.unlock();
  });

  test('S7 blocks nobody and leaves nothing when the holder never reads its signal', async () => {
    const { managers, store } = benchOf();
    const [n1, n2] = managers;
    for (let round = 0; round < 20; round += 1) {
      const ignorant = await take(n1, 'db');
      const next = await queue(n2, 'db');
      await n2.breakLock(ignorant.ticket);
      const successor = await next.granted;
      await ignorant.unlock();
      await successor.unlock();
    }
    expect(await store.tickets()).toEqual([]);
  });

  test('S53 unlocks at the end of an `await using` block', async () => {
    const { managers, store } = benchOf();
    {
      await using lock = await take(managers[0], 'db');
      expect(await store.tickets()).toEqual([lock.ticket]);
    }
    expect(await store.tickets()).toEqual([]);
  });

  test('S43 releases two locks in either order', async () => {
    const { managers, store } = benchOf();
    const [n1] = managers;
    const [a, b] = [await take(n1, 'a'), await take(n1, 'b')];
    await a.unlock();
    b.throwIfLost();
    await b.unlock();
    expect(await store.tickets()).toEqual([]);
  });

  test('S83 aborts the signal at once when the lock is broken', async () => {
    const { managers, store } = benchOf();
    const [n1, n2] = managers;
    const lock = await take(n1, 'db');
    const lost = new Promise((resolve) => lock.signal.addEventListener('abort', resolve));
    const next = await queue(n2, 'db');
    const startedAt = performance.now();
    await n2.breakLock(lock.ticket);
    await lost;
    expect(performance.now() - startedAt).toBeLessThan(longTtlMs / 4); // Not left to a renewal.
    expect(() => lock.throwIfLost()).toThrow(/lost the lock on db: its ticket was removed/);
    const successor = await next.granted;
    await expect(lock.confirm()).rejects.toThrow(LockLostError);
    await lock.unlock();
    await successor.confirm();
    await successor.unlock();
    expect(await store.tickets()).toEqual([]);
  });

  test('S55 learns from the store on confirm that its lock was broken', async () => {
    const { managers, store } = benchOf();
    const lock = await take(managers[0], 'db');
    await store.remove(lock.ticket);
    await expect(lock.confirm()).rejects.toThrow(LockLostError);
    expect(lock.signal.aborted).toBe(true);
  });

  test('S62 aborts the signals of all locks whose session has ended', async () => {
    const { fixture, store } = benchOf();
    if (fixture.expireSession === undefined) return neverExpires(store);
    const n4 = await benchOf().host();
    const [a, b] = [await take(n4, 'a'), await take(n4, 'b')];
    await fixture.expireSession((await n4.open()).sessionId);
    await eventually(() => {
      expect(a.signal.aborted).toBe(true);
      expect(b.signal.aborted).toBe(true);
    });
    await Promise.all([a.unlock(), b.unlock()]);
    expect(await store.tickets()).toEqual([]);
  });

  test('writes a record only while the lock is held', async () => {
    const { managers, store } = benchOf();
    const [n1, n2] = managers;
    const lock = await take(n1, 'db');
    await lock.guard([{ key: 'r', value: 'one', expectedRevision: 0 }]);
    expect(await store.record('r')).toMatchObject({ value: 'one' });
    expect(n1.mirror.record('r')).toEqual(await store.record('r'));
    lock.throwIfLost();
    const stale = lock.guard([{ key: 'r', value: 'two', expectedRevision: 0 }]);
    await expect(stale).rejects.toThrow(RecordConflictError);
    lock.throwIfLost();
    await n2.breakLock(lock.ticket);
    const late = lock.guard([{ key: 'r', value: 'three' }]);
    await expect(late).rejects.toThrow(LockLostError);
    await expect(lock.guard([])).rejects.toThrow(LockLostError);
    expect(await store.record('r')).toMatchObject({ value: 'one' });
  });

  test('writes nothing when the store knows of the loss before the holder does', async () => {
    const { managers, store } = benchOf();
    for (const unlock of [false, true]) {
      const lock = await take(managers[0], 'db');
      await store.remove(lock.ticket);
      const late = lock.guard([{ key: 'r', value: 'late' }], { unlock });
      await expect(late).rejects.toThrow(LockLostError);
      expect(lock.signal.aborted).toBe(true);
      expect(await store.record('r')).toBeUndefined();
    }
  });

  test('writes a record and unlocks in one step, with the reason "released"', async () => {
    const { managers, store } = benchOf();
    const [n1, n2] = managers;
    for (let round = 0; round < 20; round += 1) {
      const lock = await take(n1, 'db');
      const next = await queue(n2, 'db');
      await lock.guard([{ key: 'r', value: `by ${lock.token}` }], { unlock: true });
      expect(lock.signal.reason).toEqual(new LockLostError('the lock was released'));
      expect(await store.record('r')).toMatchObject({ value: `by ${lock.token}` });
      const successor = await next.granted;
      await lock.unlock();
      await successor.confirm();
      await successor.unlock();
    }
    expect(await store.tickets()).toEqual([]);
  });

  test('S82 gives each later holder a larger token', async () => {
    const { managers, store } = benchOf();
    const tokens: number[] = [];
    for (let round = 0; round < 30; round += 1) {
      const by = managers[round % 3] ?? managers[0];
      await by.withLock([exclusive('db')], { reason: 'Mount' }, async (lock) => {
        tokens.push(lock.token);
      });
    }
    expect(tokens).toEqual([...new Set(tokens)].sort((a, b) => a - b));
    expect(await store.tickets()).toEqual([]);
  });
}
