// Reads from a member that is cut off from its cluster: three real etcd members, two of them
// frozen.
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { EtcdClient } from '../../../../lib/etcd/client.ts';
import { EtcdStore } from '../../../../lib/lock/stores/etcd/store.ts';
import type { Etcd } from '../../../support/etcd-server.ts';
import { startEtcd } from '../../../support/etcd-server.ts';
import { describeWith } from '../../../support/requirements.ts';
import { addressesOf } from '../../bench/etcd-fixture.ts';
import { clientOf } from '../../bench/store-bench.ts';

describeWith(['etcd'], 'an etcd member without its cluster', () => {
  let etcd: Etcd;
  beforeAll(async () => {
    etcd = await startEtcd({ members: 3 });
  });
  afterAll(() => etcd?.stop());

  test('defect A15: does not answer, since its data may be stale', async () => {
    const [address = ''] = addressesOf(etcd);
    await using store = new EtcdStore(new EtcdClient({ endpoints: [address] }), '/berth');
    const client = await clientOf(store, 'n1');
    const ticket = await client.hold('mount/db');
    await client.write(ticket, 'volumes/db', 'here');
    for (const member of [1, 2]) etcd.pause(member);
    const reads = [
      store.record('volumes/db'),
      store.tickets('mount/db'),
      store.stands(ticket),
      store.place(ticket),
      store.gates(),
    ];
    for (const { status } of await Promise.allSettled(reads)) expect(status).toBe('rejected');
    // The member has the data, and gives it to a client that accepts stale reads.
    const stale = ['get', '/berth/records/volumes/db', '--consistency=s', '--print-value-only'];
    expect(await etcd.ctlOk(...stale, `--endpoints=${address}`)).toContain('here');
    for (const member of [1, 2]) etcd.resume(member);
  });
});
