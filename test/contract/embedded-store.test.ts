import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { embeddedStore } from '../../lib/lock/stores/embedded.ts';
import { ticketStoreContract } from './ticket-store.ts';

ticketStoreContract('embedded', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'berth-locks-'));
  const path = join(directory, 'state', 'locks.db');
  return {
    connect: () => embeddedStore({ path }),
    dispose: () => rm(directory, { recursive: true }),
    expireSession: async (id) => {
      // As if it were of a process that had this number before.
      using db = new DatabaseSync(path, { timeout: 1000 });
      db.prepare("UPDATE sessions SET started = '1' WHERE id = ?").run(id);
    },
  };
});
