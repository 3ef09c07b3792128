// Takes the exclusive lock `pool`, or tries to, with the library of another release:
//
//     node earlier-locks.ts RELEASE try|hold etcd|embedded|file|postgres PLACE
//
// `try` prints what it was granted and what it saw. `hold` prints `waits` and `granted`; SIGTERM ends it.
import { once } from 'node:events';
import { join } from 'node:path';
import type { LockManager } from '../../../lib/lock/lock-manager.ts';
import type { TicketStore } from '../../../lib/lock/stores/ticket-store.ts';

const [, , release = '', work = '', kind = '', place = ''] = process.argv;
const load = (path: string) => import(join(release, 'lib', path));
const store: TicketStore = await openStore();
const { LockManager: Manager } = await load('lock/lock-manager.ts');
const manager: LockManager = new Manager({ store, host: 'old', owner: 'old', ttlMs: 60_000 });
const say = (line: string) => process.stdout.write(`${line}\n`);

if (work === 'try') {
  const granted = [];
  for (const mode of ['exclusive', 'shared'] as const) {
    const lock = await manager.tryLock([{ name: 'pool', mode }], { reason: 'Old' });
    if (lock) granted.push(mode);
    await lock?.unlock();
  }
  const seen = (await manager.inspect('pool')).flatMap(({ locks }) => locks);
  say(JSON.stringify({ granted, seen }));
} else {
  const onWait = () => say('waits');
  const lock = await manager.lock([{ name: 'pool', mode: 'exclusive' }], { reason: 'Old', onWait });
  say('granted');
  const timer = setInterval(() => {}, 1_000);
  await once(process, 'SIGTERM');
  clearInterval(timer);
  await lock.unlock();
}
await manager.close({ keep: false });
await store[Symbol.asyncDispose]();

async function openStore(): Promise<TicketStore> {
  const module = await load(`lock/stores/${kind}/store.ts`);
  if (kind === 'embedded') return await module.embeddedStore({ path: place });
  if (kind === 'file') return await module.fileStore({ directory: place });
  if (kind === 'postgres') return module.postgresStore({ url: place });
  const { EtcdClient } = await load('etcd/client.ts');
  return new module.EtcdStore(new EtcdClient({ endpoints: [place] }), '/berth');
}
