import { expect, test } from '@jest/globals';
import { LockClearRefusedError, LockUnsupportedError } from '../../../lib/lock/errors.ts';
import type { LockManager } from '../../../lib/lock/lock-manager.ts';
import type { TicketStore } from '../../../lib/lock/stores/ticket-store.ts';
import { LockDriver } from '../../../lib/lock/use/lock-driver.ts';
import { UseMount, UseSnapshot } from '../../../lib/lock/use/use.ts';
import type { ManagerBenchOf } from '../bench/manager-bench.ts';
import { keep, take } from '../bench/manager-bench.ts';
import { eventually, neverExpires } from '../bench/store-bench.ts';

const never = new AbortController().signal;

/** Checks locks that a later process of the same owner takes over, and kept locks. */
export function lockKeepingContract(benchOf: ManagerBenchOf): void {
  test('re-acquires its locks after a restart, and drops the others that were left', async () => {
    const { store } = benchOf();
    const saved: string[] = [];
    const save = async (id: string) => void saved.push(id);
    const before = await benchOf().host({ keep: { resume: undefined, save } });
    if (await refusesToKeep(before, store)) return;
    const [mounted, stray] = [await take(before, 'db'), await take(before, 'stray')];
    await before.close({ keep: true });
    expect(await store.tickets()).toHaveLength(2);

    const after = await benchOf().host({ keep: { resume: saved[0], save } });
    expect(await after.open()).toEqual({ sessionId: saved[0], resumed: true });
    const lock = await after.attach(mounted.ticket);
    expect(lock?.token).toBe(mounted.token);
    expect(await after.attach(mounted.ticket)).toBe(lock);
    await after.dropStrays();
    expect(await store.tickets()).toEqual([mounted.ticket]);
    expect(await after.attach(stray.ticket)).toBeUndefined();
    await lock?.confirm();
    await lock?.unlock();
    expect(await store.tickets()).toEqual([]);
  });

  test('finds nothing to re-acquire when the session of the earlier process has ended', async () => {
    const { store } = benchOf();
    const saved: string[] = [];
    const save = async (id: string) => void saved.push(id);
    const before = await benchOf().host({ keep: { resume: undefined, save } });
    if (await refusesToKeep(before, store)) return;
    const { ticket } = await take(before, 'db');
    await before.close({ keep: false });
    const after = await benchOf().host({ keep: { resume: saved[0], save } });
    expect(await after.open()).toMatchObject({ resumed: false });
    expect(saved).toHaveLength(2);
    expect(await after.attach(ticket)).toBeUndefined();
    expect(await store.tickets()).toEqual([]);
  });

  test('S84 removes unknown tickets of its session by itself', async () => {
    const { managers, store } = benchOf();
    const [n1] = managers;
    const lock = await take(n1, 'db');
    await store.enqueue({ ...lock.ticket, nonce: 'ghost' });
    await eventually(async () => expect(await store.tickets()).toEqual([lock.ticket]));
    await lock.confirm();
    await lock.unlock();
  });

  test('releases a kept lock once', async () => {
    const { managers, store } = benchOf();
    const { kept, states } = keep(await take(managers[0], 'db'), managers[0]);
    expect(kept.state).toBe('held');
    await kept.unlock();
    await kept.unlock();
    expect([kept.state, ...states]).toEqual(['released', 'released']);
    expect(await store.tickets()).toEqual([]);
  });

  test('reports a broken kept lock as lost', async () => {
    const { managers, store } = benchOf();
    const { kept, states } = keep(await take(managers[0], 'db'), managers[0]);
    await managers[1].breakLock(kept.ticket);
    await eventually(() => expect(states).toEqual(['unproven', 'lost']));
    await using successor = await take(managers[1], 'db', { timeoutMs: 0 });
    await kept.unlock();
    expect(await store.tickets()).toEqual([successor.ticket]);
  });

  test('reports a kept lock as lost when its session has ended', async () => {
    const { fixture, store } = benchOf();
    if (fixture.expireSession === undefined) return neverExpires(store);
    const n4 = await benchOf().host();
    const { states } = keep(await take(n4, 'db'), n4);
    await fixture.expireSession((await n4.open()).sessionId);
    await eventually(() => expect(states).toEqual(['unproven', 'lost']));
  });

  test('runs work under the use locks of volumes, and keeps a lock over several calls', async () => {
    const { managers, store } = benchOf();
    const [driver, other] = [new LockDriver(managers[0], 100), new LockDriver(managers[1], 100)];
    const uses = [UseMount('db', 'copy', 'shared'), UseSnapshot('db', 'copy')];
    const names = await driver.executeWithMultiUseLock(uses, { signal: never }, async (lock) => {
      await eventually(() => expect(driver.tickets('db')).toEqual([lock.ticket]));
      expect(driver.tickets('web')).toEqual([]);
      const one = UseMount('db', 'mount');
      const refused = other.executeWithUseLock(one, { signal: never }, async () => 'ran');
      await expect(refused).rejects.toMatchObject({ code: 'timeout', blockers: [lock.ticket] });
      return lock.ticket.locks.map(({ name }) => name);
    });
    expect(names).toEqual(['mount/db', 'snapshot/db']);
    const options = { signal: never, onChange: () => {} };
    const kept = await driver.acquireWithTTLRefresh(UseMount('db', 'mount'), options);
    expect(await store.tickets()).toEqual([kept.ticket]);
    await kept.unlock();
  });

  test('S83 clears a lock only with the right token and only when its holder is not alive', async () => {
    const { managers, store } = benchOf();
    const [driver, other] = [new LockDriver(managers[0], 100), new LockDriver(managers[1], 100)];
    const uses = [UseMount('db', 'mount'), UseSnapshot('db', 'mount')];
    const options = { signal: never };
    const clear = (token: number, force: boolean) =>
      other.clearLock({ volume: 'db', token, force, signal: never });
    await expect(clear(7, true)).rejects.toThrow('nobody holds it now');
    await driver.executeWithMultiUseLock(uses, options, async (lock) => {
      const wrong = clear(lock.token + 1, true);
      await expect(wrong).rejects.toThrow(LockClearRefusedError);
      await expect(wrong).rejects.toMatchObject({ tickets: [lock.ticket] });
      await expect(wrong).rejects.toThrow(`has no lock with token ${lock.token + 1}; now: host n1`);
      const alive = clear(lock.token, false);
      await expect(alive).rejects.toThrow(/the holder of volume db is alive: host n1 \(Mount/);
      lock.throwIfLost();
      expect(await clear(lock.token, true)).toEqual(lock.ticket);
      await eventually(() => expect(lock.signal.aborted).toBe(true));
    });
    expect(await store.tickets()).toEqual([]);
  });

  test('leaves nothing when it is closed, whatever was under way', async () => {
    const { store } = benchOf();
    const n4 = await benchOf().host();
    const locks = await Promise.all(['a', 'b', 'c'].map((name) => take(n4, name)));
    const late = take(n4, 'd').catch(({ code }) => code);
    const closed = n4.close({ keep: false });
    expect(await late).toBe('cancelled');
    await closed;
    expect(locks.every(({ signal }) => signal.aborted)).toBe(true);
    expect(await store.tickets()).toEqual([]);
    await n4.close({ keep: false });
  });
}

/** True on a store whose locks end with their process, after checking that it refuses to keep. */
async function refusesToKeep(host: LockManager, store: TicketStore): Promise<boolean> {
  if (store.properties.sessionsResume) return false;
  await expect(host.open()).rejects.toThrow(LockUnsupportedError);
  await expect(take(host, 'db')).rejects.toThrow(LockUnsupportedError);
  expect(await store.tickets()).toEqual([]);
  return true;
}
