import { DatabaseSync } from 'node:sqlite';
import { embeddedStore } from '../../lib/lock/stores/embedded/store.ts';
import { embeddedDirectory } from './embedded-directory.ts';
import { lockLeaks } from './lock-leaks.ts';
import { lockManagerContract } from './lock-manager.ts';
import type { StoreFixture } from './store-bench.ts';

async function makeStore(): Promise<StoreFixture> {
  const directory = await embeddedDirectory();
  const { path } = directory;
  return {
    connect: () => embeddedStore({ path }),
    dispose: () => directory[Symbol.asyncDispose](),
    expireSession: async (id) => {
      // As if it were of a process that had this number before.
      using db = new DatabaseSync(path, { timeout: 1_000 });
      db.prepare("UPDATE sessions SET started = '1' WHERE id = ?").run(id);
    },
  };
}

lockManagerContract('embedded', makeStore);
lockLeaks('embedded', makeStore);
