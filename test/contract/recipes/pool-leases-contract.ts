import { expect, test } from '@jest/globals';
import { LockLostError } from '../../../lib/lock/errors.ts';
import { LockPool } from '../../../lib/lock/recipes/pool/lock-pool.ts';
import {
  LockPoolClaimedError,
  LockPoolExhaustedError,
  LockPoolInUseError,
  LockPoolLeasedError,
  LockPoolNotAllocatedError,
} from '../../../lib/lock/recipes/pool/lock-pool-errors.ts';
import { leaseKind, leaseRequest } from '../../../lib/lock/recipes/pool/lock-pool-leases.ts';
import type { ManagerBenchOf } from '../bench/manager-bench.ts';
import { queue, take } from '../bench/manager-bench.ts';
import { eventually } from '../bench/store-bench.ts';
import { poolsOf } from './pools.ts';

const leased = { leased: true } as const;

/** Checks numbers that are allocated only as long as their owner lives. */
export function poolLeasesContract(benchOf: ManagerBenchOf): void {
  const pools = poolsOf(benchOf);

  test('a leased number is allocated until its lease ends, beside durable numbers', async () => {
    const [p1, p2, p3] = pools(3);
    const first = await p1.allocate('a', leased);
    expect((await p2.allocate('b')).id).toBe(1);
    const third = await p3.claim(2, 'c', leased);
    expect([first.id, third.id]).toEqual([0, 2]);
    const owners = [
      [0, 'a'],
      [1, 'b'],
      [2, 'c'],
    ] as const;
    expect([...(await p2.allocations())]).toEqual(owners);
    expect(await p1.available()).toBe(0);
    for (const options of [{}, leased]) {
      await expect(p2.allocate('d', options)).rejects.toThrow(LockPoolExhaustedError);
      await expect(p2.claim(0, 'd', options)).rejects.toThrow(LockPoolClaimedError);
    }
    await expect(p2.claim(0, 'd')).rejects.toThrow('number 0 is allocated to a');
    first.lease.throwIfLost();
    await first.lease.end();
    await first.lease.end();
    expect(first.lease.signal.aborted).toBe(true);
    expect((await p2.allocate('d')).id).toBe(0);
    await third.lease.end();
    expect([...(await p1.allocations()).values()]).toEqual(['d', 'b']);
    expect(await benchOf().store.tickets()).toEqual([]);
  });

  test('a leased number is free when its owner is gone, without anybody who frees it', async () => {
    const bench = benchOf();
    const [p1, p2] = pools(2);
    const kept = await p1.allocate('kept', leased);
    const worker = await bench.host();
    const pool = new LockPool(worker, { name: p1.name, capacity: 2 });
    const lost = await pool.allocate('worker', leased);
    expect([kept.id, lost.id]).toEqual([0, 1]);
    await expect(p2.allocate('next', leased)).rejects.toThrow(LockPoolExhaustedError);
    const { sessionId } = await worker.open();
    if (bench.fixture.expireSession) await bench.fixture.expireSession(sessionId);
    else await worker.close({ keep: false });
    await eventually(() => expect(lost.lease.signal.aborted).toBe(true));
    expect(() => lost.lease.throwIfLost()).toThrow(LockLostError);
    const next = await p2.allocate('next', leased);
    expect(next.id).toBe(1);
    // The end of the lost lease does not free the number of its heir.
    await lost.lease.end();
    expect([...(await p1.allocations()).values()]).toEqual(['kept', 'next']);
    kept.lease.throwIfLost();
  });

  test('gives different numbers to owners that ask at once, leased or not', async () => {
    const hosts = pools(9);
    const numbers = await Promise.all(
      Array.from({ length: 9 }, (_, index) =>
        (hosts[index % 3] ?? hosts[0]).allocate(`c${index}`, { leased: index % 2 === 0 }),
      ),
    );
    expect(new Set(numbers.map(({ id }) => id)).size).toBe(9);
    expect(await hosts[0].available()).toBe(0);
    expect(numbers.map((number) => 'lease' in number)).toEqual(
      numbers.map((_, index) => index % 2 === 0),
    );
    await hosts[1].freeAll({ force: true });
    expect(await hosts[2].available()).toBe(9);
  });

  test('frees a leased number for another, and its owner learns of it', async () => {
    const [p1, p2] = pools(2);
    const one = await p1.allocate('a', leased);
    const two = await p1.allocate('b', leased);
    for (const free of [() => p2.free(0), () => p2.freeAll()]) {
      const refused = free();
      await expect(refused).rejects.toThrow(LockPoolLeasedError);
      await expect(refused).rejects.toThrow(/number 0 by host n1 \(Lease, .*, a\).*with force/);
    }
    await one.lease.confirm();
    await p2.free(0, { force: true });
    await eventually(() => expect(one.lease.signal.aborted).toBe(true));
    two.lease.throwIfLost();
    await expect(p2.free(0)).rejects.toThrow(LockPoolNotAllocatedError);
    expect((await p2.allocate('c')).id).toBe(0);
    await p2.freeAll({ force: true });
    await eventually(() => expect(two.lease.signal.aborted).toBe(true));
    expect(await p1.available()).toBe(2);
  });

  test('is not renumbered while a number is leased', async () => {
    const [p1, p2] = pools(2);
    const number = await p1.allocate('a', leased);
    const renumbered = p2.renumber(['x', 'y']);
    await expect(renumbered).rejects.toThrow(LockPoolInUseError);
    await expect(renumbered).rejects.toThrow(/number 0 by host n1 \(Lease, .*, a\)/);
    await (await number.lock({ reason: 'Start' })).unlock();
    expect(await p2.conflicts(new Map([['b', 0]]))).toEqual([{ id: 0, users: ['b'], owner: 'a' }]);
    await number.lease.end();
    expect((await p2.renumber(['x', 'y'])).size).toBe(2);
  });

  test('a release that knows no leases refuses the record while numbers are leased', async () => {
    const [p1, p2] = pools(3);
    const version = async () => {
      const record = await benchOf().store.record('pool/containers');
      return (JSON.parse(record?.value ?? '{}') as { version?: number }).version;
    };
    await p1.allocate('a');
    expect(await version()).toBe(1);
    const one = await p1.allocate('b', leased);
    expect(await version()).toBe(2);
    await p2.allocate('c');
    await p2.free(0);
    expect(await version()).toBe(2);
    await one.lease.end();
    await p2.free(2);
    expect(await version()).toBe(1);
    await p1.claim(2, 'd', leased);
    await p2.free(2, { force: true });
    expect(await version()).toBe(1);
  });

  test('of two tickets on one number, the first is its lease, and force breaks both', async () => {
    const [p1, p2] = pools(2);
    const [, n2] = benchOf().managers;
    const one = await p1.allocate('a', leased);
    // The request of an owner whose lock on the pool was lost after it had chosen the number.
    const late = await queue(n2, leaseRequest('containers', 0), { kind: leaseKind('b') });
    expect([...(await p2.allocations())]).toEqual([[0, 'a']]);
    await expect(p2.free(0)).rejects.toThrow(/number 0 by host n1 \(Lease, .*, a\)/);
    await p2.free(0, { force: true });
    await expect(late.granted).rejects.toThrow(LockLostError);
    await eventually(() => expect(one.lease.signal.aborted).toBe(true));
    expect(await p1.available()).toBe(2);
  });

  test('a request for a leased number ends with its lock on the pool', async () => {
    const [p1] = pools(2);
    const [, n2] = benchOf().managers;
    // It has the number, and not the lock that leases share: to others the number looks free.
    const unseen = await take(n2, leaseRequest('containers', 0).slice(0, 1));
    const allocated = p1.allocate('a', { ...leased, timeoutMs: Number.POSITIVE_INFINITY });
    allocated.catch(() => {});
    const { store } = benchOf();
    const requests = (count: number) =>
      eventually(async () =>
        expect(await store.tickets('pool-leases/containers')).toHaveLength(count),
      );
    await requests(1);
    const [poolLock] = await store.tickets('pool/containers');
    if (poolLock) await n2.breakLock(poolLock);
    await requests(0);
    await expect(allocated).rejects.toThrow(LockLostError);
    await unseen.unlock();
    expect(await store.tickets()).toEqual([]);
  });
}
