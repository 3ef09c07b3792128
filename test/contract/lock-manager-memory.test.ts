import { memoryState, memoryStore } from '../../lib/lock/stores/memory/store.ts';
import { lockLeaks } from './lock-leaks.ts';
import { lockManagerContract } from './lock-manager.ts';
import type { StoreFixture } from './store-bench.ts';

async function makeStore(): Promise<StoreFixture> {
  const shared = memoryState();
  return {
    connect: async () => memoryStore({ shared }),
    dispose: async () => {},
    expireSession: async (id) => shared.closeSession(id),
  };
}

lockManagerContract('memory', makeStore);
lockLeaks('memory', makeStore);
