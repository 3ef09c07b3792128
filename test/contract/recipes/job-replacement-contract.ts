import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { LockLostError, StoreUnavailableError } from '../../../lib/lock/errors.ts';
import type { Locks } from '../../../lib/lock/locks.ts';
import { JobHeldError } from '../../../lib/lock/recipes/jobs/job-errors.ts';
import { noopLocks } from '../../../lib/lock/recipes/noop/noop-locks.ts';
import { beforePollMs } from '../../support/eventually.ts';
import type { ManagerBenchOf } from '../bench/manager-bench.ts';
import { eventually } from '../bench/store-bench.ts';
import { component, instance, instancesOf, name, run } from './jobs.ts';

/** Checks that a run can lock its own job again, and that nobody else gets in between. */
export function jobReplacementContract(benchOf: ManagerBenchOf): void {
  const instances = instancesOf(benchOf);

  test('S24 gives the same run the job again, 10 times, each time with a new token', async () => {
    const { managers, store } = benchOf();
    const [i1, i2] = instances();
    let last = await i1.lock(run);
    for (let times = 0; times < 9; times += 1) {
      const lock = await i1.lock(run);
      expect(lock.token).toBeGreaterThan(last.token);
      expect(last.signal.aborted).toBe(true);
      await expect(last.guard([{ key: 'r', value: `${times}` }])).rejects.toThrow(LockLostError);
      last = lock;
    }
    await last.confirm();
    expect(await managers[1].inspect(name)).toEqual([last.ticket]);
    expect(await i2.status('nightly')).toEqual({
      component,
      job: 'nightly',
      disabled: undefined,
      run: {
        ticket: last.ticket,
        by: { componentId: 'i1', jobId: '7f', until: expect.stringMatching(/^20.*Z$/) },
      },
    });
    await last.unlock();
    expect(await store.tickets()).toEqual([]);
  });

  test('S24 gives the same run the job again from a new process, and ends the old lock', async () => {
    const { store } = benchOf();
    const [old, next] = [await benchOf().host(), await benchOf().host({ host: 'n5' })];
    const stale = await instance(old, 'i1').lock(run);
    const startedAt = performance.now();
    const lock = await instance(next, 'i1').lock(run);
    expect(performance.now() - startedAt).toBeLessThan(beforePollMs);
    expect(lock.token).toBeGreaterThan(stale.token);
    await expect(stale.guard([{ key: 'r', value: 'late' }])).rejects.toThrow(LockLostError);
    await eventually(() => expect(stale.signal.aborted).toBe(true));
    await stale.unlock();
    await lock.confirm();
    expect(await store.record('r')).toBeUndefined();
    expect(await store.tickets()).toEqual([lock.ticket]);
  });

  test('S24 grants the job to nobody else while a run replaces itself', async () => {
    const [i1, i2, i3] = instances();
    let last = await i1.lock(run);
    let isOver = false;
    const others = [i2, i3].map(async (other) => {
      while (!isOver) {
        const refused = other.lock({ ...run, jobId: 'other' });
        await expect(refused).rejects.toThrow(JobHeldError);
        await pause(0);
      }
    });
    for (let times = 0; times < 20; times += 1) {
      last = await i1.lock(run);
      await pause(0);
    }
    await last.confirm();
    isOver = true;
    await Promise.all(others);
  });

  test('S24 ends no other lock while a run replaces itself, and leaves no ticket when it fails', async () => {
    const { managers, store } = benchOf();
    const [n1, n2] = managers;
    const own = await instance(n1, 'i1').lock(run);
    /** Locks whose store has changed between the question and the answer. */
    const late = (breakLock: Locks['breakLock']): Locks => ({
      ...noopLocks(),
      tryLock: async () => undefined,
      inspect: async () => [own.ticket],
      lock: (locks, options) => n1.lock(locks, options),
      breakLock,
    });
    const away = new StoreUnavailableError('the store is away');
    const failing = instance(
      late(() => Promise.reject(away)),
      'i1',
    );
    await expect(failing.lock(run)).rejects.toBe(away);
    expect(await store.tickets()).toEqual([own.ticket]);
    await own.unlock();
    await using other = await instance(n2, 'i2').lock(run);
    const second = instance(
      late((ticket) => n1.breakLock(ticket)),
      'i1',
    ).lock(run);
    await expect(second).rejects.toThrow(/instance i1 .* is held by instance i2/);
    expect(await store.tickets()).toEqual([other.ticket]);
    await other.confirm();
  });

  test('S24 gives the job to one of ten requests that the same run makes at once', async () => {
    const { managers, store } = benchOf();
    const requests = Array.from({ length: 10 }, (_, index) =>
      instance(managers[index % 3] ?? managers[0], 'i1').lock(run),
    );
    const results = await Promise.allSettled(requests);
    const errors = results.flatMap((result) =>
      result.status === 'rejected' ? [result.reason] : [],
    );
    for (const error of errors) expect(error).toBeInstanceOf(LockLostError);
    const granted = results.flatMap((result) =>
      result.status === 'fulfilled' ? [result.value] : [],
    );
    const last = granted.toSorted((a, b) => a.token - b.token).at(-1);
    expect(await store.tickets()).toEqual([last?.ticket]);
    await last?.confirm();
    await eventually(() => {
      const live = granted.filter(({ signal }) => !signal.aborted);
      expect(live).toEqual([last]);
    });
  });
}
