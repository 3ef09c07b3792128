// The lock manager's contract on etcd, and how often it writes there: a real etcd, real time.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { LockTimeoutError } from '../../../../lib/lock/errors.ts';
import { LockDriver } from '../../../../lib/lock/use/lock-driver.ts';
import type { Etcd } from '../../../support/etcd-server.ts';
import { startEtcd } from '../../../support/etcd-server.ts';
import { describeWith } from '../../../support/requirements.ts';
import { etcdVersions } from '../../../support/tools.ts';
import { etcdFixture } from '../../bench/etcd-fixture.ts';
import { ManagerBench, queue, take } from '../../bench/manager-bench.ts';
import { exclusive } from '../../bench/store-bench.ts';
import { lockLeaks } from '../../locks/leaks.ts';
import { lockManagerContract } from '../../locks/manager-contract.ts';

for (const version of etcdVersions) {
  describeWith(['etcd'], `on etcd ${version}`, () => {
    let etcd: Etcd;

    beforeAll(async () => {
      etcd = await startEtcd({ version });
    });
    afterAll(() => etcd.stop());

    const makeStore = () => etcdFixture(etcd);
    // The managers differ by the store's client only, so that one count for each release is enough.
    lockManagerContract('etcd', makeStore, [version === '3.5' ? 1 : 3]);
    // One version is enough: only the client could leak.
    if (version === '3.5') lockLeaks('etcd', makeStore);

    test('an operator clears both locks of a volume when two requests share a token', async () => {
      await using bench = await ManagerBench.open(await makeStore(), 3);
      const [n1, n2] = bench.managers;
      await n1.open();
      const locks = ['first', 'mount/db', 'snapshot/db'].map((name) => take(n1, name));
      const [first, mount, snapshot] = await Promise.all(locks);
      expect(mount?.token).toBe(snapshot?.token);
      const request = { volume: 'db', token: mount?.token ?? 0, force: true };
      const { signal } = new AbortController();
      await new LockDriver(n2, 1_000).clearLock({ ...request, signal });
      expect(await n2.list()).toEqual([first?.ticket]);
    });

    describe('writes on etcd', () => {
      async function writesOf(work: () => Promise<unknown>): Promise<number> {
        const before = await etcd.revision();
        await work();
        return (await etcd.revision()) - before;
      }

      test('takes and releases a free lock with two writes', async () => {
        await using bench = await ManagerBench.open(await makeStore(), 1);
        const [n1] = bench.managers;
        await n1.open();
        expect(await writesOf(async () => (await take(n1, 'db')).unlock())).toBe(2);
        const three = ['a', 'b', 'c'].map(exclusive);
        expect(await writesOf(async () => (await take(n1, three)).unlock())).toBe(2);
        const tried = async () => (await n1.tryLock(three, { reason: 'Mount' }))?.unlock();
        expect(await writesOf(tried)).toBe(2);
      });

      test('takes a lock and writes a record at its release with two writes', async () => {
        await using bench = await ManagerBench.open(await makeStore(), 1);
        const [n1] = bench.managers;
        await n1.open();
        const work = async () => {
          await using lock = await take(n1, 'db');
          await lock.guard([{ key: 'r', value: `${lock.token}` }], { unlock: true });
        };
        expect(await writesOf(work)).toBe(2);
      });

      test('queues and removes a waiting request with two writes, whether it was granted or not', async () => {
        await using bench = await ManagerBench.open(await makeStore(), 3);
        const [n1, n2] = bench.managers;
        await n2.open();
        const held = await take(n1, 'db');
        const inVain = () =>
          expect(take(n2, 'db', { timeoutMs: 50 })).rejects.toThrow(LockTimeoutError);
        expect(await writesOf(inVain)).toBe(2);
        const waited = async () => {
          const { granted } = await queue(n2, 'db');
          await held.unlock();
          await (await granted).unlock();
        };
        expect(await writesOf(waited)).toBe(3);
      });

      test('refuses a try, inspects and confirms without a write', async () => {
        await using bench = await ManagerBench.open(await makeStore(), 3);
        const [n1, n2] = bench.managers;
        await n2.open();
        await using held = await take(n1, 'db');
        const work = async () => {
          expect(await n2.tryLock([exclusive('db')], { reason: 'Mount' })).toBeUndefined();
          await n2.inspect('db');
          await held.confirm();
          await held.guard([]);
        };
        expect(await writesOf(work)).toBe(0);
      });
    });
  });
}
