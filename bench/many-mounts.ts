import { join } from 'node:path';
import { hasCode } from '../lib/linux/error-code.ts';
import { sentinelCall } from '../plugin/fencing/sentinel-call.ts';
import { startEtcd } from '../test/support/etcd-server.ts';
import { startProcess, waitFor } from '../test/support/processes.ts';
import type { BenchDaemon } from './daemon.ts';
import { startBenchDaemon } from './daemon.ts';
import { printFigures, quantile, timed } from './statistics.ts';

const count = Number(process.env.MOUNTS ?? 1_000);
const atOnce = 8;
const rounds = 20;
const cyclesPerRound = 5;
const startLimitMs = 60_000;

/**
 * Measures a Mount on a host with 1,000 mounts against one on a host without any, in rounds that
 * alternate, and the time until a daemon that was killed has all mounts back after its start.
 */
export async function benchManyMounts(): Promise<number> {
  await using etcd = await startEtcd({ onDisk: true });
  let over = 0;
  for (const [name, url] of [
    ['etcd', etcd.url],
    ['embedded', 'embedded'],
  ] as const) {
    over += await onStore(name, url);
  }
  return over;
}

async function onStore(name: string, store: string): Promise<number> {
  await using empty = await startHost(store, 'empty');
  await using full = await startHost(store, 'full');
  const names = Array.from({ length: count }, (_, index) => `v${index}`).values();
  const filling = Array.from({ length: atOnce }, async () => {
    for (const volume of names) await mountNew(full.daemon, volume);
  });
  await Promise.all(filling);
  const hosts = { empty, full };
  const times = { empty: newTimes(), full: newTimes() };
  for (const host of [empty, full]) await create(host.daemon, 'db');
  for (let round = 0; round < rounds; round += 1) {
    for (const key of ['empty', 'full'] as const) await cycles(hosts[key].daemon, times[key]);
  }
  const p50 = (key: 'empty' | 'full', of: 'mounts' | 'unmounts') => quantile(times[key][of], 0.5);
  const restartMs = await timed(async () => {
    await full.daemon.restart();
    await waitFor(
      () => heldBy(full.daemon).then((held) => held === count),
      startLimitMs,
      'all mounts',
    );
  });
  return printFigures(`A host with ${count} mounts on ${name}`, [
    { what: 'Mount, p50, without others', value: p50('empty', 'mounts'), unit: 'ms' },
    { what: `Mount, p50, beside ${count}`, value: p50('full', 'mounts'), unit: 'ms' },
    {
      what: 'ratio',
      value: p50('full', 'mounts') / p50('empty', 'mounts'),
      unit: '×',
      limit: 1.5,
    },
    { what: 'Unmount, p50, without others', value: p50('empty', 'unmounts'), unit: 'ms' },
    { what: `Unmount, p50, beside ${count}`, value: p50('full', 'unmounts'), unit: 'ms' },
    { what: 'from a kill to all mounts held', value: restartMs / 1_000, unit: 's', limit: 5 },
  ]);
}

interface Times {
  readonly mounts: number[];
  readonly unmounts: number[];
}

const newTimes = (): Times => ({ mounts: [], unmounts: [] });

async function cycles(daemon: BenchDaemon, { mounts, unmounts }: Times): Promise<void> {
  const body = { Name: 'db', ID: 'db'.padEnd(64, 'a') };
  for (let i = 0; i < cyclesPerRound; i += 1) {
    mounts.push(await timed(() => daemon.call('VolumeDriver.Mount', body)));
    unmounts.push(await timed(() => daemon.call('VolumeDriver.Unmount', body)));
  }
}

const create = (daemon: BenchDaemon, volume: string) =>
  daemon.call('VolumeDriver.Create', { Name: volume, Opts: {} });

async function mountNew(daemon: BenchDaemon, volume: string): Promise<void> {
  await create(daemon, volume);
  await daemon.call('VolumeDriver.Mount', { Name: volume, ID: volume.padEnd(64, 'a') });
}

async function heldBy(daemon: BenchDaemon): Promise<number> {
  const { mounts } = JSON.parse(await daemon.admin('GET', 'v1/status'));
  return mounts.filter(({ lock }: { lock: string }) => lock === 'held').length;
}

/** A daemon with mounts of its own: a mount table that grows slows every program on the machine. */
async function startHost(store: string, prefix: string) {
  await using stack = new AsyncDisposableStack();
  const own = ['--mount', '--propagation', 'slave', 'sleep', 'infinity'];
  const keeper = stack.use(startProcess('unshare', own));
  const under = ['nsenter', '--target', String(keeper.pid), '--mount'];
  const flags = ['--prefix', `/${prefix}`];
  const daemon = stack.use(await startBenchDaemon(store, { under, flags }));
  // The sentinel outlives its daemon, and the mounts the sentinel: they end with their namespace.
  stack.defer(async () => {
    await daemon.process.stop();
    const call = sentinelCall(join(daemon.path, 'admin.sock.sentinel'));
    try {
      const { pid } = JSON.parse(await call('GET', '/report'));
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      // Where locks don't expire, or nothing is mounted, none runs.
      if (!hasCode(error, 'ENOENT', 'ECONNREFUSED', 'ESRCH')) throw error;
    }
  });
  const running = stack.move();
  return { daemon, [Symbol.asyncDispose]: () => running.disposeAsync() };
}
