import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { LockLostError, StoreUnavailableError } from '../../lib/lock/errors.ts';
import type { LockManager } from '../../lib/lock/lock-manager.ts';
import { postgresStore } from '../../lib/lock/stores/postgres.ts';
import { FaultyStore } from '../support/faulty-store.ts';
import type { Postgres } from '../support/postgres-server.ts';
import { startPostgres } from '../support/postgres-server.ts';
import { describeWith } from '../support/requirements.ts';
import { keep, manager, queue, take } from './manager-bench.ts';
import { dialects } from './postgres-fixture.ts';
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

for (const dialect of dialects) {
  describeWith(['postgres'], `when PostgreSQL fails (as a ${dialect})`, () => {
    let server: Postgres;
    let stack: AsyncDisposableStack;
    let network: FaultyStore;
    let n1: LockManager;
    let n2: LockManager;

    beforeEach(async () => {
      stack = new AsyncDisposableStack();
      server = stack.use(await startPostgres());
      const connect = () => stack.use(postgresStore({ url: server.url, dialect }));
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

    test('S57 stops the holder in time while the server is frozen, and grants to nobody before', async () => {
      const lock = await take(n1, 'db');
      const { kept, states } = keep(await take(n1, 'kept'), n1);
      const waiter = await queue(n2, 'db');
      const stopped = abortOf(lock.signal);
      await pause(1_500); // A renewal has been answered by now.
      const frozenAt = performance.now();
      await server.pause();
      const failing = take(n1, 'other', { timeoutMs: 300 });
      await expect(failing).rejects.toThrow(StoreUnavailableError);
      expect(performance.now() - frozenAt).toBeLessThan(giveUpMs);
      const stoppedAt = await stopped;
      expect(stoppedAt - frozenAt).toBeLessThan(ttlMs);
      expect(kept.state).toBe('unproven');
      expect(waiter.endedAt).toBeUndefined();
      await pause(1_000);
      await server.resume();
      // The session ran out while the server was frozen, or was renewed in time: its clock decides.
      await lock.unlock();
      const successor = await waiter.granted;
      expect(successor.token).toBeGreaterThan(lock.token);
      await eventually(() => expect(['held', 'lost']).toContain(states.at(-1)), ttlMs);
      await kept.unlock();
      await successor.unlock();
      await eventually(async () => expect(await n1.inspect('kept')).toEqual([]));
    });

    test('fails within the limits of the calls while it is down, and recovers by itself', async () => {
      const lock = await take(n1, 'db');
      const { kept, states } = keep(await take(n1, 'kept'), n1);
      const waiter = await queue(n2, 'db');
      await server.kill();
      const limits: Promise<number>[] = [0, 500].map(async (timeoutMs) => {
        const startedAt = performance.now();
        const failing = take(n1, 'other', { timeoutMs });
        await expect(failing).rejects.toThrow(StoreUnavailableError);
        await expect(failing).rejects.toThrow(/ at 127.0.0.1:\d+ .* can't be used: /);
        return performance.now() - startedAt - timeoutMs;
      });
      for (const overMs of await Promise.all(limits)) expect(overMs).toBeLessThan(giveUpMs);
      const unlockedAt = performance.now();
      await lock.unlock();
      expect(performance.now() - unlockedAt).toBeLessThan(giveUpMs);
      // Down for longer than the TTL: only the start of a PostgreSQL gives sessions their TTL anew.
      await pause(dialect === 'postgres' ? ttlMs : 0);
      await eventually(() => expect(kept.state).toBe('unproven'), ttlMs);
      await server.restart();
      const restartedAt = performance.now();
      const successor = await waiter.granted;
      await (await take(n1, 'other', { timeoutMs: 5_000 })).unlock();
      expect(performance.now() - restartedAt).toBeLessThan(4_000);
      const outcomes = dialect === 'postgres' ? ['held'] : ['held', 'lost'];
      await eventually(() => expect(outcomes).toContain(states.at(-1)));
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

    test('frees the lock of a host that died, within a TTL of its restart', async () => {
      await take(n1, 'db');
      const { granted } = await queue(n2, 'db');
      network.cutOff();
      await server.kill();
      await pause(ttlMs / 2);
      await server.restart();
      const restartedAt = performance.now();
      await (await granted).unlock();
      expect(performance.now() - restartedAt).toBeLessThan(ttlMs + 1_000);
    });

    test('goes on when the server ends its connections in the middle of work', async () => {
      const { kept, states } = keep(await take(n1, 'kept'), n1);
      const work = Array.from({ length: 10 }, async (_, index) => {
        for (let round = 0; round < 20; round += 1) {
          const by = index % 2 === 0 ? n1 : n2;
          await (await take(by, 'db', { timeoutMs: 10_000 })).unlock();
        }
      });
      const disturbance = (async () => {
        for (let round = 0; round < 10; round += 1) {
          await server.psql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE application_name = 'berth'`);
          await pause(100);
        }
      })();
      await Promise.all([...work, disturbance]);
      await eventually(async () => expect(await n1.inspect('db')).toEqual([]));
      await eventually(() => expect(n1.mirror.isLive && n2.mirror.isLive).toBe(true));
      expect(states).toEqual([]);
      expect(kept.state).toBe('held');
      await kept.unlock();
    });
  });
}
