// The lock manager's contract on the memory store, in real time.
import { memoryState, memoryStore } from '../../../../lib/lock/stores/memory/store.ts';
import type { StoreFixture } from '../../bench/store-bench.ts';
import { lockLeaks } from '../../locks/leaks.ts';
import { lockManagerContract } from '../../locks/manager-contract.ts';

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
