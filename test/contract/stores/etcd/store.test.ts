// The store contract on each version of etcd: real servers, real time.
import { afterAll, beforeAll } from '@jest/globals';
import type { Etcd } from '../../../support/etcd-server.ts';
import { startEtcd } from '../../../support/etcd-server.ts';
import { describeWith } from '../../../support/requirements.ts';
import { etcdVersions } from '../../../support/tools.ts';
import { etcdFixture } from '../../bench/etcd-fixture.ts';
import { ticketStoreContract } from '../../store/ticket-store.ts';

for (const version of etcdVersions) {
  describeWith(['etcd'], `on etcd ${version}`, () => {
    let etcd: Etcd;

    beforeAll(async () => {
      etcd = await startEtcd({ version });
    });
    afterAll(() => etcd.stop());

    ticketStoreContract('etcd', () => etcdFixture(etcd));
  });
}
