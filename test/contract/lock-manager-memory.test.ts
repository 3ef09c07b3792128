import { memoryState, memoryStore } from '../../lib/lock/stores/memory.ts';
import { lockManagerContract } from './lock-manager.ts';

lockManagerContract('memory', async () => {
  const shared = memoryState();
  return {
    connect: async () => memoryStore({ shared }),
    dispose: async () => {},
    expireSession: async (id) => shared.closeSession(id),
  };
});
