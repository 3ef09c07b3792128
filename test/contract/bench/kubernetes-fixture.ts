import { ApiServer } from '../../../lib/lock/stores/kubernetes/api-server.ts';
import { Leases } from '../../../lib/lock/stores/kubernetes/leases.ts';
import { kubernetesStore } from '../../../lib/lock/stores/kubernetes/store.ts';
import { processSurroundings } from '../../../lib/lock/stores/kubernetes/surroundings.ts';
import type { Kubernetes } from '../../support/kubernetes.ts';
import type { StoreFixture } from './store-bench.ts';
import { eventually } from './store-bench.ts';

let stores = 0;

/** Makes an empty store in a ConfigMap of its own. */
export async function kubernetesFixture({ admin }: Kubernetes): Promise<StoreFixture> {
  stores += 1;
  const name = `test-${stores}`;
  return {
    isSlow: true,
    connect: async () => kubernetesStore({ ...admin, name }),
    dispose: async () => {},
    expireSession: async (session) => {
      using api = new ApiServer(admin);
      const leases = new Leases(api, processSurroundings, { namespace: 'default', name });
      const lease = await leases.find(session);
      if (lease) await leases.remove(lease);
      const path = `/api/v1/namespaces/default/configmaps/${name}`;
      await eventually(async () => {
        const { data } = await api.call<{ data: { state: string } }>('GET', path);
        if (JSON.parse(data.state).sessions.includes(session)) throw new Error('it still stands');
      });
    },
  };
}
