import { EtcdClient } from '../lib/etcd/client.ts';
import { LockManager } from '../lib/lock/lock-manager.ts';
import { EtcdStore } from '../lib/lock/stores/etcd/store.ts';
import { startEtcd } from '../test/support/etcd-server.ts';
import { waitFor } from '../test/support/processes.ts';
import { cyclesPerSecond } from './cycles-per-second.ts';
import { startGoMutex } from './go-mutex.ts';
import { benchOtherStores } from './lock-stores.ts';
import type { Figure } from './statistics.ts';
import { printFigures, quantile } from './statistics.ts';

const rounds = Number(process.env.ROUNDS ?? 7);
const roundMs = 1_000;
const waiters = 200;
/** The least ratio to Go's cycles, by the number of workers. */
const leastRatio = new Map([
  [1, 0.5],
  [16, 1],
  [64, 1.2],
  [256, 1.8],
]);

/**
 * Measures locks on etcd against `concurrency.Mutex` of etcd's own Go client, on the same etcd in alternating
 * rounds, and locks on PostgreSQL and in a directory against their floors. A ratio is the median of the rounds.
 */
export async function benchLocks(): Promise<number> {
  return (await benchEtcd()) + (await benchOtherStores(rounds));
}

async function benchEtcd(): Promise<number> {
  await using etcd = await startEtcd({ onDisk: true });
  const endpoints = etcd.endpoints.map((url) => new URL(url).host);
  await using go = await startGoMutex(endpoints[0] ?? '');
  await using store = new EtcdStore(new EtcdClient({ endpoints }), '/bench');
  await using manager = new LockManager({ store, host: 'n1', owner: 'bench', ttlMs: 60_000 });
  const own = (workers: number) =>
    cyclesPerSecond(workers, roundMs, (worker) => cycle(manager, `mount/db${worker}`, 'exclusive'));
  const shared = () => cyclesPerSecond(64, roundMs, () => cycle(manager, 'shared', 'shared'));
  await own(64);
  await go.cyclesPerSecond(64, roundMs);

  const results = new Map([...leastRatio.keys()].map((workers) => [workers, rows()]));
  const handOvers = rows();
  const ofShared: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    for (const [workers, { berth, others }] of results) {
      berth.push(await own(workers));
      others.push(await go.cyclesPerSecond(workers, roundMs));
    }
    ofShared.push(await shared());
    handOvers.berth.push(await handOverMs(manager));
    handOvers.others.push(await go.handOverMs(waiters));
  }
  return printFigures(`Locks on etcd, medians of ${rounds} rounds`, [
    ...[...results].flatMap(([workers, { berth, others }]) => [
      { what: `${workers} workers`, value: quantile(berth, 0.5), unit: '/s' },
      { what: '  concurrency.Mutex', value: quantile(others, 0.5), unit: '/s' },
      {
        what: '  ratio',
        value: ratio(berth, others),
        unit: '×',
        atLeast: leastRatio.get(workers) ?? 0,
      },
    ]),
    { what: `hand-over among ${waiters}, p50`, value: quantile(handOvers.berth, 0.5), unit: 'ms' },
    { what: '  concurrency.Mutex', value: quantile(handOvers.others, 0.5), unit: 'ms' },
    { what: '  ratio', value: ratio(handOvers.berth, handOvers.others), unit: '×', limit: 1.2 },
    {
      what: '64 workers on one shared lock',
      value: quantile(ofShared, 0.5),
      unit: '/s',
      atLeast: 3_000,
    },
  ] satisfies Figure[]);
}

/** Returns the p50, in ms, of the hand-overs of one lock, from the call of `unlock` to the next grant. */
async function handOverMs(manager: LockManager): Promise<number> {
  const locks = [{ name: 'one', mode: 'exclusive' as const }];
  const tookMs: number[] = [];
  let releasedAt = 0;
  const first = await manager.lock(locks, { reason: 'Hold' });
  const all = Array.from({ length: waiters }, async () => {
    const lock = await manager.lock(locks, { reason: 'Wait' });
    const now = performance.now();
    tookMs.push(now - releasedAt);
    releasedAt = now;
    await lock.unlock();
  });
  await waitFor(
    () => manager.mirror.ticketsOn('one').length === waiters + 1,
    10_000,
    'the waiters',
  );
  releasedAt = performance.now();
  await first.unlock();
  await Promise.all(all);
  return quantile(tookMs, 0.5);
}

async function cycle(
  manager: LockManager,
  name: string,
  mode: 'exclusive' | 'shared',
): Promise<void> {
  const lock = await manager.lock([{ name, mode }], { reason: 'Mount' });
  await lock.unlock();
}

/** The results of the rounds. */
function rows(): { readonly berth: number[]; readonly others: number[] } {
  return { berth: [], others: [] };
}

function ratio(ours: readonly number[], others: readonly number[]): number {
  return quantile(
    ours.map((each, round) => each / (others[round] ?? Number.NaN)),
    0.5,
  );
}
