// What locks cost on etcd, in calls, writes, keys, memory and time: a real etcd, real time. Times
// are compared with a reference of the same run.
import process from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { EtcdClient } from '../../../../lib/etcd/client.ts';
import { prefixRange } from '../../../../lib/etcd/ranges.ts';
import type { LockManager } from '../../../../lib/lock/lock-manager.ts';
import { EtcdStore } from '../../../../lib/lock/stores/etcd/store.ts';
import type { Etcd } from '../../../support/etcd-server.ts';
import { startEtcd } from '../../../support/etcd-server.ts';
import { describeWith } from '../../../support/requirements.ts';
import type { Queued } from '../../bench/manager-bench.ts';
import { manager, queue, take } from '../../bench/manager-bench.ts';
import { eventually } from '../../bench/store-bench.ts';
import { countListeners, usage } from '../../locks/leaks.ts';

class CountingClient extends EtcdClient {
  calls = 0;

  override txn(...args: Parameters<EtcdClient['txn']>) {
    this.calls += 1;
    return super.txn(...args);
  }

  override range(...args: Parameters<EtcdClient['range']>) {
    this.calls += 1;
    return super.range(...args);
  }
}

describeWith(['etcd'], 'costs on etcd', () => {
  let etcd: Etcd;
  let stack: AsyncDisposableStack;
  let clients: CountingClient[];

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    etcd = stack.use(await startEtcd());
    clients = [];
  });
  afterEach(() => stack.disposeAsync());

  function connect(): EtcdClient {
    const endpoints = etcd.endpoints.map((url) => new URL(url).host);
    const client = new CountingClient({ endpoints });
    clients.push(client);
    return client;
  }

  function host(name: string, ttlMs = 60_000): LockManager {
    const store = stack.use(new EtcdStore(connect(), '/berth'));
    return stack.use(manager(store, name, { ttlMs }));
  }

  async function metric(name: string): Promise<number> {
    const answer = await fetch(`${etcd.endpoints[0]}/metrics`);
    const line = (await answer.text()).split('\n').find((each) => each.startsWith(`${name} `));
    return Number(line?.split(' ').at(-1));
  }

  test('P6 a hand-over takes one call, which is a write, in order, however many wait', async () => {
    const hosts = [host('n1'), host('n2'), host('n3')] as const;
    const probe = connect();
    stack.defer(() => probe.close());
    let lock = await take(hosts[0], 'db');
    const waiters: Queued[] = [];
    for (let index = 0; index < 200; index += 1) {
      waiters.push(await queue(hosts[index % 3] ?? hosts[0], 'db'));
    }
    const handOverMs: number[] = [];
    const roundTripMs: number[] = [];
    const calls: number[] = [];
    const startedAt = performance.now();
    let token = lock.token;
    for (const { granted } of waiters) {
      const probedAt = performance.now();
      const put = { key: Buffer.from('/probe'), value: Buffer.from('x') };
      await probe.txn({ compare: [], success: [{ request_put: put }], failure: [] });
      roundTripMs.push(performance.now() - probedAt);
      for (const client of clients) client.calls = 0;
      const writes = await etcd.revision();
      const releasedAt = performance.now();
      const unlocked = lock.unlock();
      lock = await granted;
      handOverMs.push(performance.now() - releasedAt);
      await unlocked;
      expect(lock.token).toBeGreaterThan(token);
      token = lock.token;
      calls.push(sum(clients.map((client) => client.calls)));
      expect((await etcd.revision()) - writes).toBe(1);
    }
    await lock.unlock();
    expect(median(calls)).toBe(1);
    // Each waiter also polls every half minute.
    const looks = (waiters.length * (performance.now() - startedAt)) / 30_000;
    expect(sum(calls)).toBeLessThanOrEqual(waiters.length + looks);
    print(
      `a hand-over among 200 takes ${times(median(handOverMs), median(roundTripMs))} round trips`,
    );
    // 2 on a quiet machine. The calls are exact above: this finds work that grows with those who wait.
    expect(median(handOverMs)).toBeLessThanOrEqual(8 * median(roundTripMs));
  });

  test('a host sends one keep-alive, however many locks it holds', async () => {
    const [few, many] = [host('few', 3_000), host('many', 3_000)];
    const beatsOf = async (ms: number) => {
      const before = await metric('etcd_debugging_lease_renewed_total');
      await pause(ms);
      return (await metric('etcd_debugging_lease_renewed_total')) - before;
    };
    const one = await take(few, 'db');
    const beatsWithOne = await beatsOf(4_000);
    const names = Array.from({ length: 1_000 }, (_, index) => `lock ${index}`);
    const locks = await Promise.all(names.map((name) => take(many, name)));
    const streams = 'grpc_server_started_total{grpc_method="LeaseKeepAlive"';
    // Both hosts renew once a second.
    expect(await beatsOf(4_000)).toBeLessThanOrEqual(2 * beatsWithOne + 2);
    const answer = await (await fetch(`${etcd.endpoints[0]}/metrics`)).text();
    const started = answer.split('\n').find((line) => line.startsWith(streams));
    expect(Number(started?.split(' ').at(-1))).toBe(2);
    for (const lock of [one, ...locks]) lock.throwIfLost();
    expect(await many.list()).toHaveLength(1_001);
    await Promise.all(locks.map((lock) => lock.unlock()));
  });

  test('a lock uses a fixed set of key names, however often it is taken', async () => {
    const hosts = [host('n1'), host('n2')] as const;
    for (let round = 0; round < 100; round += 1) {
      const first = await take(hosts[0], 'db');
      const waiters = [await queue(hosts[1], 'db'), await queue(hosts[0], 'db')];
      await first.unlock();
      for (const { granted } of waiters) await (await granted).unlock();
      expect(
        await hosts[1].tryLock([{ name: 'db', mode: 'exclusive' }], { reason: 'Mount' }),
      ).toBeDefined();
      await hosts[1].breakLock((await hosts[1].inspect('db'))[0] ?? first.ticket);
    }
    const names = new Set<string>();
    let last = 0;
    const reader = connect();
    stack.defer(() => reader.close());
    const watch = await reader.watch(prefixRange('/berth/'), 1, (events) => {
      for (const { kv } of events) names.add(kv.key.toString());
      last = Number(events.at(-1)?.kv.mod_revision);
    });
    const revision = await etcd.revision();
    await eventually(() => expect(last).toBe(revision));
    watch.close();
    // Every range that is read visits all names, also the deleted ones.
    const ofLocks = [...names].filter((name) => name.startsWith('/berth/locks/'));
    expect(ofLocks.length).toBeLessThanOrEqual(4);
  });

  test('a lock that was taken 50,000 times takes no longer than a new one', async () => {
    const n1 = host('n1');
    const held = await take(n1, 'old');
    const writer = connect();
    stack.defer(() => writer.close());
    // Twenty names, as if twenty requests had waited at once, used again and again.
    const slots = Array.from({ length: 20 }, (_, slot) => slot);
    const value = Buffer.from(JSON.stringify(held.ticket));
    const keys = slots.map((slot) =>
      Buffer.from(`/berth/locks/old/x/${held.ticket.session}-${slot}`),
    );
    await held.unlock();
    for (let round = 0; round < 50_000 / keys.length; round += 1) {
      const puts = keys.map((key) => ({ request_put: { key, value } }));
      await writer.txn({ compare: [], success: puts, failure: [] });
      const deletions = keys.map((key) => ({ request_delete_range: { key } }));
      await writer.txn({ compare: [], success: deletions, failure: [] });
    }
    await eventually(() => expect(n1.mirror.tickets()).toEqual([]));
    const oldMs: number[] = [];
    const newMs: number[] = [];
    // In turns, so that a busy machine slows both alike.
    for (let cycle = 0; cycle < 1_000; cycle += 1) {
      for (const [name, ms] of [['old', oldMs] as const, ['new', newMs] as const]) {
        const startedAt = performance.now();
        const lock = await take(n1, name);
        ms.push(performance.now() - startedAt);
        await lock.unlock();
      }
    }
    print(
      `a lock taken 50,000 times takes ${times(median(oldMs), median(newMs))} the time of a new one`,
    );
    expect(median(oldMs)).toBeLessThan(1.3 * median(newMs));
  });

  test('S13 S48 released locks leave no memory, timers or listeners', async () => {
    const n1 = host('n1');
    const workers = 64;
    const run = (count: number) =>
      Promise.all(
        Array.from({ length: workers }, async (_, worker) => {
          for (let index = 0; index < count / workers; index += 1) {
            await (await take(n1, `db${worker}`, { timeoutMs: 60_000 })).unlock();
          }
        }),
      );
    await run(5_000);
    const before = await usage();
    using listeners = countListeners();
    await run(30_000);
    expect(listeners.left()).toBeLessThan(10);
    await eventually(async () => {
      const after = await usage();
      for (const [resource, count] of Object.entries(after.resources)) {
        // After a call that timed out the client keeps a second connection for a while.
        expect([resource, Math.max(0, count - (before.resources[resource] ?? 0) - 2)]).toEqual([
          resource,
          0,
        ]);
      }
      expect(after.descriptors).toBeLessThanOrEqual(before.descriptors + 2);
      expect(after.heapBytes).toBeLessThan(before.heapBytes * 1.1);
      print(`30,000 cycles leave ${times(after.heapBytes, before.heapBytes)} the heap`);
    });
    expect(await n1.list()).toEqual([]);
    await eventually(() => expect(n1.mirror.tickets()).toEqual([]));
    const slow = await metric('etcd_debugging_mvcc_slow_watcher_total');
    expect([slow, await metric('etcd_debugging_mvcc_watcher_total')]).toEqual([0, 1]);
  });
});

function print(figure: string): void {
  process.stdout.write(`costs on etcd: ${figure}\n`);
}

/** Formats a ratio as `1.23 × (4.92 to 4.00)`. */
function times(value: number, floor: number): string {
  const [a, b] = [value, floor].map((each) => each.toFixed(each > 1_000 ? 0 : 2));
  return `${(value / floor).toFixed(2)} × (${a} to ${b})`;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, each) => total + each, 0);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
