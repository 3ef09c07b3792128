import { EtcdClient } from '../lib/etcd/client.ts';
import { LockManager } from '../lib/lock/lock-manager.ts';
import { EtcdStore } from '../lib/lock/stores/etcd/store.ts';
import { startEtcd } from '../test/support/etcd-server.ts';
import { printFigures, quantile, timed } from './statistics.ts';

const rounds = 60;
const cyclesPerRound = 50;

/**
 * Measures an uncontended lock and unlock against the floor: the two guarded transactions that any
 * such lock needs, sent by the same client. Rounds of both alternate, so that a noisy machine slows
 * both alike.
 */
export async function benchLockCycle(): Promise<number> {
  await using etcd = await startEtcd({ onDisk: true });
  const endpoints = etcd.endpoints.map((url) => new URL(url).host);
  const client = new EtcdClient({ endpoints });
  await using store = new EtcdStore(client, '/bench');
  await using manager = new LockManager({ store, host: 'n1', owner: 'bench', ttlMs: 30_000 });
  const { id: lease } = await client.leaseGrant(60);

  const cycle = async () => {
    const lock = await manager.lock([{ name: 'mount/db', mode: 'exclusive' }], { reason: 'Mount' });
    await lock.unlock();
  };
  // As long as a ticket's key and value.
  const key = Buffer.from(`/floor/locks/mount%2Fdb/x/${lease}-0`);
  const value = Buffer.alloc(220, 'x');
  const floor = async () => {
    const { header } = await client.txn({
      compare: [{ target: 'Create', result: 'Equal', key, create_revision: 0 }],
      success: [{ request_put: { key, value, lease } }],
      failure: [],
    });
    await client.txn({
      compare: [{ target: 'Create', result: 'Equal', key, create_revision: header.revision }],
      success: [{ request_delete_range: { key } }],
      failure: [],
    });
  };

  for (let i = 0; i < 200; i += 1) await cycle();
  for (let i = 0; i < 200; i += 1) await floor();
  const cycleMs: number[] = [];
  const floorMs: number[] = [];
  const ratios: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const cycles = await times(cyclesPerRound, cycle);
    const floors = await times(cyclesPerRound, floor);
    cycleMs.push(...cycles);
    floorMs.push(...floors);
    ratios.push(quantile(cycles, 0.5) / quantile(floors, 0.5));
  }
  return printFigures(`Lock cycle on etcd, uncontended, ${cycleMs.length} cycles`, [
    { what: 'lock + unlock, p50', value: quantile(cycleMs, 0.5), unit: 'ms' },
    { what: 'lock + unlock, p99', value: quantile(cycleMs, 0.99), unit: 'ms' },
    { what: 'two bare guarded transactions, p50', value: quantile(floorMs, 0.5), unit: 'ms' },
    { what: 'ratio, median of the rounds', value: quantile(ratios, 0.5), unit: '×', limit: 1.15 },
  ]);
}

async function times(count: number, work: () => Promise<unknown>): Promise<number[]> {
  const ms: number[] = [];
  for (let i = 0; i < count; i += 1) ms.push(await timed(work));
  return ms;
}
