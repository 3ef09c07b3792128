// The lock manager's contract for outages, on etcd: a real server that is killed and frozen, a
// proxy that cuts connections; real time.
import { expect, test } from '@jest/globals';
import { EtcdClient } from '../../../../lib/etcd/client.ts';
import { EtcdStore } from '../../../../lib/lock/stores/etcd/store.ts';
import { startEtcd } from '../../../support/etcd-server.ts';
import { describeWith } from '../../../support/requirements.ts';
import { etcdVersions } from '../../../support/tools.ts';
import { addressesOf } from '../../bench/etcd-fixture.ts';
import { queue, take } from '../../bench/manager-bench.ts';
import { eventually } from '../../bench/store-bench.ts';
import { lockOutageContract, outageTtlMs } from '../../locks/outage-contract.ts';

for (const version of etcdVersions) {
  describeWith(['etcd'], `when etcd ${version} fails`, () => {
    const benchOf = lockOutageContract({
      start: () => startEtcd({ version }),
      connect: (etcd) => new EtcdStore(new EtcdClient({ endpoints: addressesOf(etcd) }), '/berth'),
      complaint: /^etcd does not answer: /,
      // A start of etcd gives every lease its full TTL again.
      outlastsMs: outageTtlMs,
    });

    test('goes on despite a foreign key below its prefix, and recovers when the key is gone', async () => {
      const { server: etcd, n1, n2 } = benchOf();
      const lock = await take(n1, 'db');
      await eventually(() => expect(n1.mirror.isLive).toBe(true));
      await etcd.ctlOk('put', '/berth/locks/db/x/scribble', 'not a ticket');
      const foreign = /at \/berth\/locks\/db\/x\/scribble that berth did not write; remove it/;
      await expect(n2.inspect('db')).rejects.toThrow(foreign);
      const other = await take(n2, 'other');
      await eventually(() => expect(n1.mirror.ticket(other.ticket.nonce)).toBeDefined());
      await other.unlock();
      lock.throwIfLost();
      await etcd.ctlOk('del', '/berth/locks/db/x/scribble');
      const next = await queue(n2, 'db');
      await lock.unlock();
      await (await next.granted).unlock();
    });
  });
}
