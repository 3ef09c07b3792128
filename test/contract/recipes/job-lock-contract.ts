import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { LockCancelledError, LockDisabledError } from '../../../lib/lock/errors.ts';
import type { Lock } from '../../../lib/lock/lock.ts';
import { JobHeldError, JobUnlockRefusedError } from '../../../lib/lock/recipes/jobs/job-errors.ts';
import { JobLock } from '../../../lib/lock/recipes/jobs/job-lock.ts';
import type { ManagerBenchOf } from '../bench/manager-bench.ts';
import { eventually } from '../bench/store-bench.ts';
import { component, instance, instancesOf, name, run } from './jobs.ts';

/** Checks that one run at a time holds a job, and who may unlock or disable it. */
export function jobLockContract(benchOf: ManagerBenchOf): void {
  const instances = instancesOf(benchOf);

  test('S20 S27 gives a job to one of two runs and names both in the refusal, in either order', async () => {
    const [i1, i2] = instances();
    const lock = await i1.lock(run);
    const other = { ...run, jobId: '8c' };
    const refused = i2.lock(other);
    await expect(refused).rejects.toThrow(JobHeldError);
    await expect(refused).rejects.toMatchObject({
      code: 'contended',
      requester: { component, componentId: 'i2', job: 'nightly', jobId: '8c' },
      holder: { ticket: lock.ticket, by: { componentId: 'i1', jobId: '7f' } },
    });
    const { since } = lock.ticket.holder;
    const until = new Date(Date.parse(since) + 60_000).toISOString();
    const holder =
      `instance i1 (run 7f on host n1, since ${since}, ` +
      `until ${until} at the latest, token ${lock.token})`;
    await expect(refused).rejects.toThrow(
      `job nightly of snapshots: instance i2 (run 8c) can't start: the job is held by ${holder}`,
    );
    const kept = i2.unlock(other);
    await expect(kept).rejects.toThrow(JobUnlockRefusedError);
    await expect(kept).rejects.toMatchObject({
      code: 'refused',
      message: `job nightly of snapshots: instance i2 (run 8c) can't unlock it: it is held by ${holder}`,
    });
    await lock.confirm();

    await i1.unlock(run);
    const next = await i2.lock(other);
    expect(next.token).toBeGreaterThan(lock.token);
    await expect(i1.lock(run)).rejects.toThrow(/instance i1 .* is held by instance i2/);
    await expect(i1.unlock(run)).rejects.toThrow(JobUnlockRefusedError);
    await next.confirm();
    await next.unlock();
    expect(await benchOf().store.tickets()).toEqual([]);
  });

  test('S27 keeps runs of one instance, jobs and components apart, whatever their names', async () => {
    const [n1, n2] = benchOf().managers;
    const [i1] = instances();
    await using _ = await i1.lock(run);
    await expect(i1.lock({ ...run, jobId: '7f2' })).rejects.toThrow(/run 7f2.*run 7f on/);
    const names: readonly (readonly [string, string])[] = [
      ['a', 'b/c'],
      ['a/b', 'c'],
      ['a', 'b%2Fc'],
      ['a%2Fb', 'c'],
      ['ü %', '..'],
    ];
    const locks: Lock[] = [];
    for (const [of, job] of names) {
      const jobs = new JobLock(n1, { component: of, componentId: 'i /=%' });
      locks.push(await jobs.lock({ ...run, job, jobId: 'r\n jobId=x ü' }));
      expect(await new JobLock(n2, { component: of, componentId: '?' }).status(job)).toMatchObject({
        component: of,
        job,
        run: { by: { componentId: 'i /=%', jobId: 'r\n jobId=x ü' } },
      });
    }
    for (const lock of locks) await lock.confirm();
    for (const lock of locks) await lock.unlock();
  });

  test('S25 unlocks a job 10 times, also for a process that has crashed', async () => {
    const { store } = benchOf();
    const [i1, i2] = instances();
    await i1.unlock(run);
    const lock = await i1.lock(run);
    for (let times = 0; times < 10; times += 1) {
      await i1.unlock(run);
      expect(lock.signal.aborted).toBe(true);
      expect(() => lock.throwIfLost()).toThrow('the lock was released');
    }
    await i2.unlock({ ...run, jobId: 'never locked' });
    expect(await store.tickets()).toEqual([]);
    expect(await i2.status('nightly')).toMatchObject({ run: undefined });

    const crashed = await instance(await benchOf().host(), 'i1').lock(run);
    await i1.unlock(run);
    await eventually(() => expect(crashed.signal.aborted).toBe(true));
    expect(await store.tickets()).toEqual([]);
  });

  test('S21 S22 S23 S26 disables and enables a job for all, any number of times', async () => {
    const [i1, i2, i3] = instances();
    for (let times = 0; times < 10; times += 1)
      await i1.disable('nightly', { why: `upgrade ${times}` });
    for (const each of [i1, i2, i3]) {
      const refused = each.lock(run);
      await expect(refused).rejects.toThrow(LockDisabledError);
      await expect(refused).rejects.toThrow(
        /nightly is disabled by host n1 since .* \(upgrade 0\)/,
      );
      await each.unlock(run);
    }
    expect(await i3.status('nightly')).toMatchObject({
      run: undefined,
      disabled: { host: 'n1', why: 'upgrade 0', since: expect.stringMatching(/^20.*Z$/) },
    });
    await using other = await i2.lock({ ...run, job: 'nightly2' });
    for (let times = 0; times < 10; times += 1) await i2.enable('nightly');
    expect(await i3.status('nightly')).toMatchObject({ disabled: undefined });
    await using lock = await i1.lock(run);
    await Promise.all([lock.confirm(), other.confirm()]);
  });

  test('S23 lets a run of a disabled job go on, but not start again', async () => {
    const { store } = benchOf();
    const [i1, i2] = instances();
    const lock = await i1.lock(run);
    await i2.disable('nightly');
    await lock.confirm();
    await lock.guard([{ key: 'r', value: `${lock.token}` }]);
    expect(lock.signal.aborted).toBe(false);
    expect(await i2.status('nightly')).toMatchObject({
      run: { ticket: lock.ticket },
      disabled: { lockName: name },
    });
    await expect(i1.lock(run)).rejects.toThrow(LockDisabledError);
    await lock.confirm();
    await i1.unlock(run);
    await expect(i1.lock(run)).rejects.toThrow(LockDisabledError);
    expect(await store.tickets()).toEqual([]);
  });

  test('S22 disables and enables all jobs of a list', async () => {
    const [i1, i2] = instances();
    await i1.disableAll(['a', 'b'], { why: 'upgrade' });
    for (const job of ['a', 'b']) {
      await expect(i2.lock({ ...run, job })).rejects.toThrow(LockDisabledError);
    }
    await using _ = await i2.lock({ ...run, job: 'c' });
    await i2.enableAll(['a', 'b', 'c']);
    for (const job of ['a', 'b']) await (await i1.lock({ ...run, job })).unlock();
  });

  test("S28 takes a job from its holder when the holder's own maximum has passed, and not before", async () => {
    const { store } = benchOf();
    const [i1, i2] = instances();
    const startedAt = performance.now();
    const lock = await i1.lock({ ...run, maxDurationMs: 2_000 });
    let abortedAt = Number.POSITIVE_INFINITY;
    lock.signal.addEventListener('abort', () => {
      abortedAt = performance.now();
    });
    let other: Lock | undefined;
    let refusals = 0;
    while (other === undefined && performance.now() - startedAt < 10_000) {
      await pause(5);
      // The requester's own, shorter maximum does not count.
      const request = i2.lock({ ...run, jobId: '8c', maxDurationMs: 100 });
      other = await request.catch((error) => {
        expect(error).toBeInstanceOf(JobHeldError);
        refusals += 1;
        return undefined;
      });
    }
    expect(lock.signal.aborted).toBe(true);
    expect(refusals).toBeGreaterThan(0);
    expect(abortedAt - startedAt).toBeGreaterThanOrEqual(1_990);
    expect(abortedAt - startedAt).toBeLessThan(10_000);
    expect(() => lock.throwIfLost()).toThrow(/lost the lock on .* longest hold/);
    await eventually(() => expect(other?.signal.aborted).toBe(true));
    await eventually(async () => expect(await store.tickets()).toEqual([]));
  });

  test('refuses an invalid duration or name, and a cancelled request', async () => {
    const { managers, store } = benchOf();
    const [i1] = instances();
    for (const maxDurationMs of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 1e16]) {
      await expect(i1.lock({ ...run, maxDurationMs })).rejects.toThrow(RangeError);
    }
    for (const wrong of [{ job: '' }, { jobId: '' }, { job: '\ud800' }]) {
      await expect(i1.lock({ ...run, ...wrong })).rejects.toThrow(RangeError);
    }
    await expect(instance(managers[0], '').lock(run)).rejects.toThrow(RangeError);
    const cancelled = i1.lock({ ...run, signal: AbortSignal.abort() });
    await expect(cancelled).rejects.toThrow(LockCancelledError);
    expect(await store.tickets()).toEqual([]);
  });

  test("respects a lock that was taken under the job's lock name, and shows its holder", async () => {
    const [n1, n2] = benchOf().managers;
    for (const detail of [undefined, 'by hand', 'componentId=% jobId=7f maxDurationMs=1']) {
      const options = { reason: 'Maintenance', ...(detail === undefined ? {} : { detail }) };
      await using lock = await n1.lock([{ name, mode: 'exclusive' }], options);
      const jobs = instance(n2, 'i2');
      await expect(jobs.lock(run)).rejects.toThrow(/is held by host n1 \(Maintenance, since/);
      await expect(jobs.unlock(run)).rejects.toThrow(/is held by host n1 \(Maintenance, since/);
      expect((await jobs.status('nightly')).run).toEqual({ ticket: lock.ticket });
    }
  });
}
