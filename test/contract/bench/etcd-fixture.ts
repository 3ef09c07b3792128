import { EtcdClient } from '../../../lib/etcd/client.ts';
import { EtcdStore } from '../../../lib/lock/stores/etcd/store.ts';
import type { Etcd } from '../../support/etcd-server.ts';
import type { StoreFixture } from './store-bench.ts';

let prefixes = 0;

/** Makes an empty store below a prefix of its own. */
export async function etcdFixture(etcd: Etcd): Promise<StoreFixture> {
  prefixes += 1;
  const prefix = `/test${prefixes}`;
  return {
    connect: async () => new EtcdStore(new EtcdClient({ endpoints: addressesOf(etcd) }), prefix),
    dispose: async () => {},
    expireSession: async (id) => {
      await etcd.ctlOk('lease', 'revoke', BigInt(id).toString(16));
    },
  };
}

/** Returns `host:port` of each member. */
export function addressesOf(etcd: Etcd): string[] {
  return etcd.endpoints.map((url) => new URL(url).host);
}
