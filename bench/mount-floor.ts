import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { startEtcd } from '../test/support/etcd-server.ts';
import type { BenchDaemon } from './daemon.ts';
import { startBenchDaemon } from './daemon.ts';
import type { FloorTimes } from './floor.ts';
import { openFloor } from './floor.ts';
import type { Figure } from './statistics.ts';
import { printFigures, quantile, timed } from './statistics.ts';

const rounds = 30;
const cyclesPerRound = 5;
/** The length of one measurement of throughput. */
const busyMs = 4_000;
const clients = 16;
/** Milliseconds that a slow disk adds to each sync. */
const slowSyncMs = 10;

/**
 * Measures Mount, Unmount, Create and Remove at the plugin's socket against their floors (floor.ts), in
 * rounds that alternate; and how many cycles 16 clients reach against one on a disk whose syncs take 10 ms more.
 */
export async function benchMountFloor(): Promise<number> {
  await using etcd = await startEtcd({ onDisk: true });
  let over = 0;
  for (const [name, url] of [
    ['etcd', etcd.url],
    ['embedded', 'embedded'],
  ] as const) {
    over += await againstFloor(name, url);
    over += await onSlowDisk(name, url);
  }
  return over;
}

async function againstFloor(name: string, store: string): Promise<number> {
  await using daemon = await startBenchDaemon(store);
  const floorDirectory = join(daemon.path, 'floor');
  await mkdir(floorDirectory);
  await using floor = await openFloor(store, floorDirectory);
  const volume = await newVolume(daemon, 'db');
  const passes: FloorTimes[] = [];
  const mounts: number[] = [];
  const unmounts: number[] = [];
  const creates: number[] = [];
  const removes: number[] = [];
  const ratios: Record<Operation, number[]> = { mount: [], unmount: [], create: [], remove: [] };
  for (let round = -2; round < rounds; round += 1) {
    const [m, u, c, r]: [number[], number[], number[], number[]] = [[], [], [], []];
    const f: FloorTimes[] = [];
    for (let i = 0; i < cyclesPerRound; i += 1) {
      m.push(await timed(volume.mount));
      u.push(await timed(volume.unmount));
    }
    for (let i = 0; i < cyclesPerRound; i += 1) {
      c.push(await timed(() => daemon.call('VolumeDriver.Create', { Name: 'new', Opts: {} })));
      r.push(await timed(() => daemon.call('VolumeDriver.Remove', { Name: 'new' })));
    }
    for (let i = 0; i < cyclesPerRound; i += 1) f.push(await floor.pass());
    if (round < 0) continue; // Warms both up.
    mounts.push(...m);
    unmounts.push(...u);
    creates.push(...c);
    removes.push(...r);
    passes.push(...f);
    const against = (operation: Operation, times: number[]) => {
      ratios[operation].push(quantile(times, 0.5) / quantile(f.map(floors[operation]), 0.5));
    };
    against('mount', m);
    against('unmount', u);
    against('create', c);
    against('remove', r);
  }
  const p50 = (read: (pass: FloorTimes) => number) => quantile(passes.map(read), 0.5);
  const ms = (what: string, value: number): Figure => ({ what, value, unit: 'ms' });
  const ratio = (what: string, values: number[]): Figure => {
    return { what, value: quantile(values, 0.5), unit: '×', limit: 2 };
  };
  return printFigures(`Mount and Unmount on ${name}, one client, ${mounts.length} cycles, p50`, [
    ms('Mount', quantile(mounts, 0.5)),
    ms('Mount, p95', quantile(mounts, 0.95)),
    ms('Unmount', quantile(unmounts, 0.5)),
    ms('Unmount, p95', quantile(unmounts, 0.95)),
    ms('Create', quantile(creates, 0.5)),
    ms('Remove', quantile(removes, 0.5)),
    ms(
      'floor: store transaction of a Mount',
      p50(({ takeMs }) => takeMs),
    ),
    ms(
      'floor: store transaction of an Unmount',
      p50(({ releaseMs }) => releaseMs),
    ),
    ms(
      'floor: synced append',
      p50(({ appendMs }) => appendMs),
    ),
    ms(
      'floor: mount(2)',
      p50(({ mountMs }) => mountMs),
    ),
    ms(
      'floor: umount2(2)',
      p50(({ unmountMs }) => unmountMs),
    ),
    ms(
      "floor: the sentinel's answer",
      p50(({ tellMs }) => tellMs),
    ),
    ms(
      'floor: the directories of a Create',
      p50(({ makeMs }) => makeMs),
    ),
    ms(
      'floor: the directories of a Remove',
      p50(({ removeMs }) => removeMs),
    ),
    ratio('Mount against its floor, median of the rounds', ratios.mount),
    ratio('Unmount against its floor, median of the rounds', ratios.unmount),
    ratio('Create against its floor, median of the rounds', ratios.create),
    ratio('Remove against its floor, median of the rounds', ratios.remove),
  ]);
}

type Operation = 'mount' | 'unmount' | 'create' | 'remove';

/** Create and Remove commit a record with the release of their locks. */
const floors: Readonly<Record<Operation, (times: FloorTimes) => number>> = {
  mount: ({ takeMs, appendMs, mountMs, tellMs }) => takeMs + appendMs + mountMs + tellMs,
  unmount: ({ releaseMs, appendMs, unmountMs, tellMs }) =>
    releaseMs + appendMs + unmountMs + tellMs,
  create: ({ takeMs, releaseMs, makeMs }) => takeMs + releaseMs + makeMs,
  remove: ({ takeMs, releaseMs, removeMs }) => takeMs + releaseMs + removeMs,
};

async function onSlowDisk(name: string, store: string): Promise<number> {
  // With a prefix of its own: the pool of another daemon belongs to another cluster.
  const flags = ['--prefix', '/slow'];
  await using daemon = await startBenchDaemon(store, { under: slowSyncs, flags });
  const volumes: Volume[] = [];
  for (let i = 0; i < clients; i += 1) volumes.push(await newVolume(daemon, `v${i}`));
  const cycles = async (count: number) => {
    const end = performance.now() + busyMs;
    let done = 0;
    const client = async ({ mount, unmount }: Volume) => {
      while (performance.now() < end) {
        await mount();
        await unmount();
        done += 1;
      }
    };
    const seconds = await timed(() => Promise.all(volumes.slice(0, count).map(client)));
    return done / (seconds / 1_000);
  };
  await cycles(clients);
  const ones: number[] = [];
  const manys: number[] = [];
  for (let round = 0; round < 3; round += 1) {
    ones.push(await cycles(1));
    manys.push(await cycles(clients));
  }
  const [one, many] = [quantile(ones, 0.5), quantile(manys, 0.5)];
  return printFigures(`Mount and Unmount on ${name}, each sync takes ${slowSyncMs} ms more`, [
    { what: '1 client', value: one, unit: 'cycles/s' },
    { what: `${clients} clients`, value: many, unit: 'cycles/s' },
    { what: `${clients} clients against one`, value: many / one, unit: '×', atLeast: 8 },
  ]);
}

/**
 * The tracer delays the daemon's syncs, on whatever thread, and touches no other call: a filter in
 * the kernel lets those pass without it. It also delays those of the programs that the daemon runs.
 */
const slowSyncs = [
  ...['strace', '-D', '-f', '-qq', '--seccomp-bpf', '-o', '/dev/null'],
  ...['-e', 'trace=fsync,fdatasync,syncfs'],
  ...['-e', `inject=fsync,fdatasync,syncfs:delay_exit=${slowSyncMs * 1_000}`],
];

interface Volume {
  mount(): Promise<unknown>;
  unmount(): Promise<unknown>;
}

async function newVolume(daemon: BenchDaemon, name: string): Promise<Volume> {
  await daemon.call('VolumeDriver.Create', { Name: name, Opts: {} });
  const body = { Name: name, ID: name.padEnd(64, 'a') };
  return {
    mount: () => daemon.call('VolumeDriver.Mount', body),
    unmount: () => daemon.call('VolumeDriver.Unmount', body),
  };
}
