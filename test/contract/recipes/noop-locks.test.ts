// `noopLocks`, which grants every request at once: no store, a manual clock.
import { expect, test } from '@jest/globals';
import {
  LockCancelledError,
  LockLostError,
  LockUnsupportedError,
} from '../../../lib/lock/errors.ts';
import { JobLock } from '../../../lib/lock/recipes/jobs/job-lock.ts';
import { noopLocks } from '../../../lib/lock/recipes/noop/noop-locks.ts';
import { LockPool } from '../../../lib/lock/recipes/pool/lock-pool.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { exclusive, shared } from '../bench/store-bench.ts';

const reason = 'Mount';
const run = { job: 'nightly', jobId: '7f', maxDurationMs: 60_000 };

test('S29 noopLocks grants everything to everybody at once, with growing tokens', async () => {
  await using locks = noopLocks({ host: 'n1' });
  const first = await locks.lock([exclusive('db'), shared('db')], { reason, detail: 'web' });
  const second = await locks.tryLock([exclusive('db'), exclusive('a')], { reason, holder: 'n2' });
  expect(first.ticket).toMatchObject({
    locks: [exclusive('db')],
    holder: { host: 'n1', reason, detail: 'web', since: expect.stringMatching(/^20.*Z$/) },
  });
  expect(second?.ticket.holder).toMatchObject({ host: 'n2' });
  expect(second?.token).toBeGreaterThan(first.token);
  expect(await locks.withLock([exclusive('db')], { reason }, async ({ token }) => token)).toBe(3);
  await Promise.all([first.confirm(), second?.confirm()]);
  expect(await locks.inspect('db')).toEqual([first.ticket, second?.ticket]);
  expect(await locks.inspect('a')).toEqual([second?.ticket]);
  expect(await locks.list()).toEqual([first.ticket, second?.ticket]);
  expect(await locks.attach(first.ticket)).toBe(first);
});

test('S29 noopLocks lets any run of a job start, and ends each run by itself', async () => {
  await using locks = noopLocks();
  const [i1, i2] = ['i1', 'i2'].map(
    (componentId) => new JobLock(locks, { component: 'snapshots', componentId }),
  );
  const running = [await i1?.lock(run), await i2?.lock(run), await i1?.lock(run)];
  for (const lock of running) lock?.throwIfLost();
  await i2?.unlock(run);
  expect(running.map((lock) => lock?.signal.aborted)).toEqual([false, true, false]);
  await i1?.unlock(run);
  await i1?.unlock(run);
  await i1?.enable('nightly');
  expect(await i2?.status('nightly')).toMatchObject({ run: undefined, disabled: undefined });
});

test('noopLocks ends a lock at its unlock, when it is broken, and after its longest hold', async () => {
  const clock = new ManualClock();
  await using locks = noopLocks({ clock });
  const take = (maxHoldMs?: number) =>
    locks.lock([exclusive('db')], { reason, ...(maxHoldMs === undefined ? {} : { maxHoldMs }) });
  const [unlocked, written, broken, long] = [
    await take(),
    await take(),
    await take(),
    await take(50),
  ];
  await unlocked.unlock();
  await unlocked.unlock();
  expect(unlocked.signal.reason).toEqual(new LockLostError('the lock was released'));
  await written.guard([], { unlock: true });
  await expect(written.confirm()).rejects.toThrow('the lock was released');
  await expect(written.guard([])).rejects.toThrow(LockLostError);
  await locks.breakLock(broken.ticket);
  await locks.breakLock(broken.ticket);
  expect(() => broken.throwIfLost()).toThrow('lost the lock on db: it was broken');
  expect(await locks.attach(broken.ticket)).toBeUndefined();
  await clock.advance(49);
  long.throwIfLost();
  await clock.advance(1);
  expect(() => long.throwIfLost()).toThrow(/lost the lock on db: .* longest hold/);
  expect(await locks.list()).toEqual([]);
});

test('noopLocks refuses what it could only pretend to do, and says why', async () => {
  await using locks = noopLocks();
  const disabled = locks.disable('job/snapshots/nightly');
  await expect(disabled).rejects.toThrow(LockUnsupportedError);
  await expect(disabled).rejects.toThrow(
    "job/snapshots/nightly can't be disabled: locks are off here, and every request is granted",
  );
  await locks.enable('job/snapshots/nightly');
  expect(await locks.gates()).toEqual([]);
  await using lock = await locks.lock([exclusive('db')], { reason });
  await lock.guard([]);
  const written = lock.guard([{ key: 'volumes/db', value: '{}' }], { unlock: true });
  await expect(written).rejects.toThrow(LockUnsupportedError);
  await expect(written).rejects.toThrow(/record volumes\/db can't be written/);
  lock.throwIfLost();
  expect(await locks.record('volumes/db')).toBeUndefined();
  const pool = new LockPool(locks, { name: 'containers', capacity: 2 });
  await expect(pool.allocate('web')).rejects.toThrow(LockUnsupportedError);
  expect(await locks.health()).toEqual([
    { severity: 'warning', message: 'locks are off: every request is granted at once' },
  ]);
});

test('noopLocks refuses invalid and cancelled requests, and every request after it was closed', async () => {
  const locks = noopLocks();
  for (const wrong of [[], [exclusive('')]]) {
    await expect(locks.lock(wrong, { reason })).rejects.toThrow(RangeError);
  }
  for (const wrong of [{ timeoutMs: -1 }, { ttlMs: 1 }, { maxHoldMs: 0.5 }]) {
    await expect(locks.lock([exclusive('db')], { reason, ...wrong })).rejects.toThrow(RangeError);
  }
  const cancelled = locks.tryLock([exclusive('db')], { reason, signal: AbortSignal.abort() });
  await expect(cancelled).rejects.toThrow(LockCancelledError);
  const lock = await locks.lock([exclusive('db')], { reason });
  await locks[Symbol.asyncDispose]();
  expect(lock.signal.aborted).toBe(true);
  await expect(locks.lock([exclusive('db')], { reason })).rejects.toThrow(LockCancelledError);
});
