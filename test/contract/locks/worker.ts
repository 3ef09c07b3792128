import process, { argv, stdout } from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';
import { EtcdClient } from '../../../lib/etcd/client.ts';
import { LockManager } from '../../../lib/lock/lock-manager.ts';
import { JobLock } from '../../../lib/lock/recipes/jobs/job-lock.ts';
import { LockPool } from '../../../lib/lock/recipes/pool/lock-pool.ts';
import { embeddedStore } from '../../../lib/lock/stores/embedded/store.ts';
import { EtcdStore } from '../../../lib/lock/stores/etcd/store.ts';
import type { TicketStore } from '../../../lib/lock/stores/ticket-store.ts';
import type { Work } from './work.ts';
import { jobOptions, poolOptions, run } from './work.ts';

/** Longer than an unknown ticket stands before a process takes it for its own left-over. */
const strayMs = 1_500;

/** The process that does `Work` (argv[2], JSON) for the tests; it prints its answer as JSON. */
await work(JSON.parse(argv[2] ?? ''));

async function work({ store: where, ttlMs, task, count }: Work): Promise<void> {
  await using store =
    'path' in where
      ? await embeddedStore(where)
      : new EtcdStore(new EtcdClient({ endpoints: where.endpoints }), where.prefix);
  const host = `p${process.pid}`;
  if (task === 'keep') return await keep(store, ttlMs);
  await using locks = new LockManager({ store, host, owner: host, ttlMs });
  const pool = new LockPool(locks, poolOptions);
  if (task === 'allocate') {
    const ids: number[] = [];
    while (ids.length < count) {
      const { id } = await pool.allocate(`${host}/${ids.length}`, { timeoutMs: 60_000 });
      ids.push(id);
    }
    stdout.write(`${JSON.stringify(ids)}\n`);
    return;
  }
  await using lock =
    task === 'hold'
      ? await pool.retrieve(0).lock({ reason: 'Start' })
      : await new JobLock(locks, jobOptions).lock(run);
  stdout.write(`${JSON.stringify(lock.ticket)}\n`);
  await pause(60_000);
}

async function keep(store: TicketStore, ttlMs: number): Promise<void> {
  const say = (answer: unknown) => stdout.write(`${JSON.stringify(answer)}\n`);
  const options = { host: 'n4', owner: 'n4', ttlMs };
  const keeping = { resume: undefined, save: async () => {} };
  await using locks = new LockManager({ store, ...options, keep: keeping });
  await locks.dropStrays();
  const lock = await locks.lock([{ name: 'kept', mode: 'exclusive' }], { reason: 'Mount' });
  const isLost = new Promise((resolve) => lock.signal.addEventListener('abort', resolve));
  say([lock.ticket]);
  const ticking = setInterval(() => {}, 1_000); // A wait for a signal keeps no process alive.
  await isLost;
  say(['lost']);
  await pause(strayMs);
  await lock.unlock();
  await locks.close({ keep: false });
  clearInterval(ticking);
  say(['ended']);
}
