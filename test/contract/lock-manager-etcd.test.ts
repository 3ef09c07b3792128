import { afterAll, beforeAll } from '@jest/globals';
import { EtcdClient } from '../../lib/etcd.ts';
import { EtcdStore } from '../../lib/lock/stores/etcd.ts';
import type { Etcd } from '../support/etcd-server.ts';
import { startEtcd } from '../support/etcd-server.ts';
import { describeWith } from '../support/requirements.ts';
import { etcdVersions } from '../support/tools.ts';
import { lockManagerContract } from './lock-manager.ts';

for (const version of etcdVersions) {
  describeWith(['etcd'], `on etcd ${version}`, () => {
    let etcd: Etcd;
    let prefixes = 0;

    beforeAll(async () => {
      etcd = await startEtcd({ version });
    });
    afterAll(() => etcd.stop());

    lockManagerContract('etcd', async () => {
      prefixes += 1;
      const prefix = `/test${prefixes}`;
      const endpoints = etcd.endpoints.map((url) => new URL(url).host);
      return {
        connect: async () => new EtcdStore(new EtcdClient({ endpoints }), prefix),
        dispose: async () => {},
        expireSession: async (id) => {
          await etcd.ctlOk('lease', 'revoke', BigInt(id).toString(16));
        },
      };
    });
  });
}
