import { expect, test } from '@jest/globals';
import {
  LockClearRefusedError,
  LockContendedError,
  LockUnsupportedError,
} from '../../../lib/lock/errors.ts';
import type { LockManager } from '../../../lib/lock/lock-manager.ts';
import { isPermanent } from '../../../lib/lock/permanent-session.ts';
import type { KeptLockState } from '../../../lib/lock/use/kept-lock.ts';
import { KeptLock } from '../../../lib/lock/use/kept-lock.ts';
import { LockDriver } from '../../../lib/lock/use/lock-driver.ts';
import { UseMount } from '../../../lib/lock/use/use.ts';
import type { ManagerBench, ManagerBenchOf } from '../bench/manager-bench.ts';
import { queue, take } from '../bench/manager-bench.ts';
import { eventually } from '../bench/store-bench.ts';

const permanent = { ttlMs: Number.POSITIVE_INFINITY };
const never = new AbortController().signal;

/** Checks locks that outlive their host. */
export function lockPermanentContract(benchOf: ManagerBenchOf): void {
  test('holds a lock that outlives its host after its session has ended', async () => {
    const { fixture, managers, store } = benchOf();
    const [n1] = managers;
    const n4 = await keeper(benchOf());
    if (!n4) return;
    const [leased, lock] = [await take(n4, 'leased'), await take(n4, 'db', permanent)];
    expect(isPermanent(lock.ticket.session)).toBe(true);
    const waiting = await queue(n1, 'db');
    await fixture.expireSession?.(leased.ticket.session);
    await eventually(() => expect(leased.signal.aborted).toBe(true));
    // The refusal names the holder once the mirror has the waiter, whom alone the store answers.
    await eventually(() => expect(n1.mirror.ticketsOn('db')).toHaveLength(2));
    const refused = take(n1, 'db', { timeoutMs: 0 });
    await expect(refused).rejects.toThrow(LockContendedError);
    await expect(refused).rejects.toThrow(/host n4 \(Mount, .*until it is released or cleared\)/);
    await lock.confirm();
    await lock.guard([{ key: 'r', value: 'still held', expectedRevision: 0 }]);
    expect(lock.signal.aborted).toBe(false);
    await lock.unlock();
    await (await waiting.granted).unlock();
    await leased.unlock();
    expect(await store.tickets()).toEqual([]);
  });

  test('finds its locks after a restart by its name alone, and drops those it does not attach', async () => {
    const { managers, store } = benchOf();
    const before = await keeper(benchOf());
    if (!before) return;
    const mounted = await take(before, 'db', permanent);
    await take(before, 'stray', permanent);
    await before.close({ keep: true });
    const next = await queue(managers[0], 'db');
    const after = await keeper(benchOf());
    const lock = await after?.attach(mounted.ticket);
    expect(lock?.token).toBe(mounted.token);
    await after?.dropStrays();
    expect(await store.tickets()).toMatchObject([
      { token: mounted.token },
      { token: expect.any(Number) },
    ]);
    await after?.[Symbol.asyncDispose]();
    await (await next.granted).unlock();
    expect(await store.tickets()).toEqual([]);
  });

  test('drops the locks of its crashed process although it no longer uses such locks', async () => {
    const { managers, store } = benchOf();
    const crashed = await keeper(benchOf());
    if (!crashed) return;
    await take(crashed, 'db', permanent);
    const other = await take(managers[0], 'other');
    const after = await keeper(benchOf());
    await after?.dropStrays();
    expect(await store.tickets()).toEqual([other.ticket]);
    await other.unlock();
  });

  test('refuses a lock that outlives its host when no later process can take it over', async () => {
    const { managers, store } = benchOf();
    const asked = take(managers[0], 'db', permanent);
    if (store.properties.sessionsExpire) {
      await expect(asked).rejects.toThrow(LockUnsupportedError);
      await expect(asked).rejects.toThrow(/needs a lock manager with the option keep/);
    } else {
      const lock = await asked;
      expect(lock.ticket.session).toBe((await managers[0].open()).sessionId);
      await lock.unlock();
    }
    expect(await store.tickets()).toEqual([]);
  });

  test('checks a kept lock that outlives its host again after a lapse of the session', async () => {
    const { fixture, managers, store } = benchOf();
    const n4 = await keeper(benchOf());
    if (!n4) return;
    const [leased, lock] = [await take(n4, 'leased'), await take(n4, 'db', permanent)];
    const states: KeptLockState[] = [];
    const kept = new KeptLock(lock, n4, (state) => states.push(state));
    await fixture.expireSession?.(leased.ticket.session);
    await (await take(n4, 'finds out')).unlock();
    await eventually(() => expect(states).toEqual(['unproven', 'held']));
    await managers[0].breakLock(kept.ticket);
    await eventually(() => expect(states.at(-1)).toBe('lost'));
    await leased.unlock();
    expect(await store.tickets()).toEqual([]);
  });

  test('S83 clears a lock that outlives its host once that host is not heard of', async () => {
    const { fixture, managers, store } = benchOf();
    const n4 = await keeper(benchOf());
    if (!n4) return;
    const own = await take(n4, 'host/n4');
    const states: KeptLockState[] = [];
    const kept = await new LockDriver(n4, 100).acquireWithTTLRefresh(UseMount('db', 'mount'), {
      signal: never,
      expires: false,
      onChange: (state) => states.push(state),
    });
    const operator = new LockDriver(managers[0], 100);
    const clear = () =>
      operator.clearLock({ volume: 'db', token: kept.token, force: false, signal: never });
    expect(await managers[0].isAlive(kept.ticket)).toBe(true);
    await expect(clear()).rejects.toThrow(LockClearRefusedError);
    await fixture.expireSession?.(own.ticket.session);
    await eventually(async () => expect(await managers[0].isAlive(kept.ticket)).toBe(false));
    expect(await clear()).toEqual(kept.ticket);
    await eventually(() => expect(states).toEqual(['unproven', 'lost']));
    await own.unlock();
    expect(await store.tickets()).toEqual([]);
  });

  test('takes two machines that were given one name for two hosts', async () => {
    const { fixture, managers } = benchOf();
    const n4 = await keeper(benchOf(), 'machine-1.n4');
    if (!n4) return;
    const namesake = await benchOf().host({ owner: 'machine-2.n4' });
    const [own, lock] = [await take(n4, 'host/1'), await take(n4, 'db', permanent)];
    const other = await take(namesake, 'host/2');
    expect(own.ticket).toMatchObject({ owner: 'machine-1.n4', holder: { host: 'n4' } });
    expect(other.ticket).toMatchObject({ owner: 'machine-2.n4', holder: { host: 'n4' } });
    expect(await managers[0].isAlive(lock.ticket)).toBe(true);
    await fixture.expireSession?.(own.ticket.session);
    await eventually(async () => expect(await managers[0].isAlive(lock.ticket)).toBe(false));
    expect(await managers[0].isAlive(other.ticket)).toBe(true);
    await lock.unlock();
    await own.unlock();
  });
}

/** Starts a daemon of host n4 that remembers nothing; undefined where sessions don't expire. */
async function keeper(bench: ManagerBench, owner = 'n4'): Promise<LockManager | undefined> {
  if (!bench.store.properties.sessionsExpire) return undefined;
  return bench.host({ owner, keep: { resume: undefined, save: async () => {} } });
}
