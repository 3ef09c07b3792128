// The lock manager's contract on the embedded store: a real SQLite file, real time.
import { DatabaseSync } from 'node:sqlite';
import { embeddedStore } from '../../../../lib/lock/stores/embedded/store.ts';
import { embeddedDirectory } from '../../bench/embedded-directory.ts';
import type { StoreFixture } from '../../bench/store-bench.ts';
import { lockLeaks } from '../../locks/leaks.ts';
import { lockManagerContract } from '../../locks/manager-contract.ts';

async function makeStore(): Promise<StoreFixture> {
  const directory = await embeddedDirectory();
  const { path } = directory;
  return {
    connect: () => embeddedStore({ path }),
    dispose: () => directory[Symbol.asyncDispose](),
    expireSession: async (id) => {
      // Makes the session look like that of a dead process whose PID was used again.
      using db = new DatabaseSync(path, { timeout: 1_000 });
      db.prepare("UPDATE sessions SET started = '1' WHERE id = ?").run(id);
    },
  };
}

lockManagerContract('embedded', makeStore);
lockLeaks('embedded', makeStore);
