// When etcd's watch proves a grant, so that a hand-over needs no read: a real etcd, and keys that berth did not write.
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { EtcdClient } from '../../../../lib/etcd/client.ts';
import { EtcdStore } from '../../../../lib/lock/stores/etcd/store.ts';
import type { Etcd } from '../../../support/etcd-server.ts';
import { startEtcd } from '../../../support/etcd-server.ts';
import { describeWith } from '../../../support/requirements.ts';
import { etcdVersions } from '../../../support/tools.ts';
import { addressesOf } from '../../bench/etcd-fixture.ts';
import { manager, queue, take } from '../../bench/manager-bench.ts';
import { eventually } from '../../bench/store-bench.ts';

for (const version of etcdVersions) {
  describeWith(['etcd'], `grants by the watch on etcd ${version}`, () => {
    let etcd: Etcd;
    let stack: AsyncDisposableStack;
    let store: EtcdStore;

    beforeEach(async () => {
      stack = new AsyncDisposableStack();
      etcd = stack.use(await startEtcd({ version }));
      store = stack.use(new EtcdStore(new EtcdClient({ endpoints: addressesOf(etcd) }), '/berth'));
    });
    afterEach(() => stack.disposeAsync());

    // Debian's 3.4 is a release that loses events when it compacts.
    const isReliable = version !== '3.4';

    test('are made only on a release that reports everything, and not on a lock with a foreign key', async () => {
      await using n1 = manager(store, 'n1');
      expect(store.showsAllOn('db')).toBe(false); // etcd has not answered yet.
      await n1.mirror.firstReset;
      expect(store.showsAllOn('db')).toBe(isReliable);
      await etcd.ctlOk('put', '/berth/locks/db/x/scribble', 'not a ticket');
      await eventually(() => expect(store.showsAllOn('db')).toBe(false));
      expect(store.showsAllOn('other')).toBe(isReliable);
      await etcd.ctlOk('del', '/berth/locks/db/x/scribble');
      await eventually(() => expect(store.showsAllOn('db')).toBe(isReliable));
    });

    test('do not overlook a ticket before it that nobody here can read', async () => {
      await using n1 = manager(store, 'n1');
      const lock = await take(n1, 'db');
      const key = `/berth/locks/db/x/${lock.ticket.session}`;
      await etcd.ctlOk('put', `${key}-8`, 'a ticket of a later release');
      const ticket = JSON.stringify({
        ...lock.ticket,
        id: undefined,
        token: undefined,
        nonce: 'n',
      });
      await etcd.ctlOk('put', `${key}-9`, ticket);
      const waiter = await queue(n1, 'db', { timeoutMs: 2_000 });
      await lock.unlock();
      await etcd.ctlOk('del', `${key}-9`);
      await expect(waiter.granted).rejects.toThrow('that berth did not write');
    });
  });
}
