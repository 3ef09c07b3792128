import { EtcdClient } from '../lib/etcd/client.ts';
import { LockManager } from '../lib/lock/lock-manager.ts';
import { EtcdStore } from '../lib/lock/stores/etcd/store.ts';
import { startEtcd } from '../test/support/etcd-server.ts';
import { cyclesPerSecond } from './cycles-per-second.ts';
import { printFigures, quantile } from './statistics.ts';

const workers = 64;
const rounds = 8;
const roundMs = 1_000;

/**
 * Measures lock cycles of many workers, each with its own lock, against the floor: the same client
 * with two transactions per cycle, sent one by one (etcd itself shares its disk writes among them).
 * Rounds of both alternate, so that a noisy machine slows both alike.
 */
export async function benchGroupCommit(): Promise<number> {
  await using etcd = await startEtcd({ onDisk: true });
  const endpoints = etcd.endpoints.map((url) => new URL(url).host);
  const client = new EtcdClient({ endpoints });
  await using store = new EtcdStore(client, '/bench');
  await using manager = new LockManager({ store, host: 'n1', owner: 'bench', ttlMs: 30_000 });
  const { id: lease } = await client.leaseGrant(600);

  const cycle = async (worker: number) => {
    const locks = [{ name: `mount/db${worker}`, mode: 'exclusive' as const }];
    const lock = await manager.lock(locks, { reason: 'Mount' });
    await lock.unlock();
  };
  // As long as a ticket's key and value.
  const value = Buffer.alloc(220, 'x');
  const floor = async (worker: number) => {
    const key = Buffer.from(`/floor/locks/mount%2Fdb${worker}/x/${lease}-0`);
    await client.txn({
      compare: [{ target: 'Create', result: 'Equal', key, create_revision: 0 }],
      success: [{ request_put: { key, value, lease } }],
      failure: [],
    });
    await client.txn({ compare: [], success: [{ request_delete_range: { key } }], failure: [] });
  };

  await cyclesPerSecond(workers, roundMs, cycle);
  await cyclesPerSecond(workers, roundMs, floor);
  const cycles: number[] = [];
  const floors: number[] = [];
  const writes: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const before = await etcd.revision();
    cycles.push(await cyclesPerSecond(workers, roundMs, cycle));
    const written = (await etcd.revision()) - before;
    writes.push(written / ((cycles.at(-1) ?? 0) * (roundMs / 1_000)));
    floors.push(await cyclesPerSecond(workers, roundMs, floor));
  }
  const ratios = cycles.map((each, round) => each / (floors[round] ?? Number.NaN));
  return printFigures(`Lock cycles on etcd, ${workers} workers on ${workers} locks`, [
    { what: 'lock + unlock, median of the rounds', value: quantile(cycles, 0.5), unit: '/s' },
    { what: 'two bare transactions', value: quantile(floors, 0.5), unit: '/s' },
    { what: 'ratio', value: quantile(ratios, 0.5), unit: '×', atLeast: 3.5 },
    { what: 'store writes per cycle', value: quantile(writes, 0.5), unit: '', limit: 0.2 },
  ]);
}
