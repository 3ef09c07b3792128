import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { EtcdClient } from '../../lib/etcd.ts';
import { LockLostError, StoreUnavailableError } from '../../lib/lock/errors.ts';
import type { LockManager } from '../../lib/lock/lock-manager.ts';
import { EtcdStore } from '../../lib/lock/stores/etcd.ts';
import type { Etcd } from '../support/etcd-server.ts';
import { startEtcd } from '../support/etcd-server.ts';
import { FaultyStore } from '../support/faulty-store.ts';
import { describeWith } from '../support/requirements.ts';
import { etcdVersions } from '../support/tools.ts';
import { keep, manager, queue, take } from './manager-bench.ts';
import { eventually, exclusive } from './store-bench.ts';

const ttlMs = 4_000;
/** One call that is not answered, and one removal that is not waited for. */
const giveUpMs = 2_000 + 2_000 + 500;

/** When a signal aborts, by `performance.now()`. */
function abortOf(signal: AbortSignal): Promise<number> {
  return new Promise((resolve) =>
    signal.addEventListener('abort', () => resolve(performance.now())),
  );
}

for (const version of etcdVersions) {
  describeWith(['etcd'], `when etcd ${version} fails`, () => {
    let etcd: Etcd;
    let stack: AsyncDisposableStack;
    let network: FaultyStore;
    let n1: LockManager;
    let n2: LockManager;

    beforeEach(async () => {
      stack = new AsyncDisposableStack();
      etcd = stack.use(await startEtcd({ version }));
      const endpoints = etcd.endpoints.map((url) => new URL(url).host);
      const connect = () => stack.use(new EtcdStore(new EtcdClient({ endpoints }), '/berth'));
      network = new FaultyStore(connect());
      n1 = stack.use(manager(network, 'n1', { ttlMs }));
      // Long enough that a waiter's own ticket outlives what happens to the holder's.
      n2 = stack.use(manager(connect(), 'n2', { ttlMs: 5 * ttlMs }));
    });
    afterEach(() => stack.disposeAsync());

    test('S15 S59 frees the lock of a host that is cut off, no earlier than the host stops', async () => {
      const lock = await take(n1, 'db');
      const { granted } = await queue(n2, 'db');
      const stopped = abortOf(lock.signal);
      const cutAt = performance.now();
      network.cutOff();
      const successor = await granted;
      const grantedAt = performance.now();
      const stoppedAt = await stopped;
      expect(stoppedAt).toBeLessThan(grantedAt);
      expect(stoppedAt - cutAt).toBeLessThanOrEqual(ttlMs * 0.8 + 50);
      expect(grantedAt - cutAt).toBeLessThan(ttlMs + 1_000);
      expect(() => lock.throwIfLost()).toThrow(LockLostError);
      await successor.unlock();
    });

    test('S57 stops the holder in time while etcd is frozen, and grants to nobody before', async () => {
      const lock = await take(n1, 'db');
      const { kept, states } = keep(await take(n1, 'kept'), n1);
      const waiter = await queue(n2, 'db');
      const stopped = abortOf(lock.signal);
      await pause(1_500); // A renewal has been answered by now.
      const frozenAt = performance.now();
      etcd.pause();
      const stoppedAt = await stopped;
      expect(stoppedAt - frozenAt).toBeLessThan(ttlMs);
      expect(kept.state).toBe('unproven');
      expect(waiter.endedAt).toBeUndefined();
      const failing = take(n1, 'other', { timeoutMs: 300 });
      await expect(failing).rejects.toThrow(StoreUnavailableError);
      await pause(1_000);
      etcd.resume();
      // Its lease ran out while it was frozen, or was renewed in time: etcd decides.
      await lock.unlock();
      const successor = await waiter.granted;
      expect(successor.token).toBeGreaterThan(lock.token);
      await eventually(() => expect(['held', 'lost']).toContain(states.at(-1)), ttlMs);
      await kept.unlock();
      await successor.unlock();
      await eventually(async () => expect(await n1.inspect('kept')).toEqual([]));
    });

    test('survives what somebody else writes below its prefix, and recovers when it is gone', async () => {
      const lock = await take(n1, 'db');
      await eventually(() => expect(n1.mirror.isLive).toBe(true));
      await etcd.ctlOk('put', '/berth/locks/db/x/scribble', 'not a ticket');
      await eventually(() => expect(n1.mirror.isLive).toBe(false));
      await expect(n2.inspect('db')).rejects.toThrow(StoreUnavailableError);
      lock.throwIfLost();
      await etcd.ctlOk('del', '/berth/locks/db/x/scribble');
      await eventually(() => expect(n1.mirror.isLive).toBe(true));
      const next = await queue(n2, 'db');
      await lock.unlock();
      await (await next.granted).unlock();
    });

    test('fails within the limits of the calls while etcd is down, and recovers by itself', async () => {
      const lock = await take(n1, 'db');
      const { kept, states } = keep(await take(n1, 'kept'), n1);
      const waiter = await queue(n2, 'db');
      await etcd.kill();
      const limits: Promise<number>[] = [0, 500].map(async (timeoutMs) => {
        const startedAt = performance.now();
        const failing = take(n1, 'other', { timeoutMs });
        await expect(failing).rejects.toThrow(StoreUnavailableError);
        await expect(failing).rejects.toThrow(/^etcd does not answer: /);
        return performance.now() - startedAt - timeoutMs;
      });
      for (const overMs of await Promise.all(limits)) expect(overMs).toBeLessThan(giveUpMs);
      const unlockedAt = performance.now();
      await lock.unlock();
      expect(performance.now() - unlockedAt).toBeLessThan(giveUpMs);
      await eventually(() => expect(kept.state).toBe('unproven'), ttlMs);
      await etcd.restart();
      const restartedAt = performance.now();
      const successor = await waiter.granted;
      await (await take(n1, 'other', { timeoutMs: 5_000 })).unlock();
      expect(performance.now() - restartedAt).toBeLessThan(4_000);
      await eventually(() => expect(states.at(-1)).toBe('held'));
      // The watches stand again: a hand-over does not have to wait for the slow poll.
      await eventually(() => expect(n1.mirror.isLive && n2.mirror.isLive).toBe(true));
      const next = await queue(n1, 'db');
      const releasedAt = performance.now();
      await successor.unlock();
      await (await next.granted).unlock();
      expect(performance.now() - releasedAt).toBeLessThan(500);
      await n2.breakLock(kept.ticket);
      await eventually(() => expect(states.at(-1)).toBe('lost'));
      expect(await n2.tryLock([exclusive('kept')], { reason: 'Mount' })).toBeDefined();
    });
  });
}
