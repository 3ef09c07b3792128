import { memoryState, memoryStore } from '../../../lib/lock/stores/memory/store.ts';
import type { StoreFixture } from './store-bench.ts';

/** Makes a memory store, whose sessions end in real time. */
export async function memoryFixture(): Promise<StoreFixture> {
  const shared = memoryState();
  return {
    connect: async () => memoryStore({ shared }),
    dispose: async () => {},
    expireSession: async (id) => shared.closeSession(id),
  };
}
