import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { processIds } from '../lib/linux/proc.ts';
import { startEtcd } from '../test/support/etcd-server.ts';
import type { BenchDaemon } from './daemon.ts';
import { startBenchDaemon } from './daemon.ts';
import { printFigures } from './statistics.ts';

const volumes = 1_000;
const mounted = 50;
const atOnce = 8;
/** The time in which the garbage of the Creates is collected. */
const restMs = 20_000;

/** Measures the memory of the daemon, the sentinel and the storage worker on a host in use. */
export async function benchResident(): Promise<number> {
  await using etcd = await startEtcd();
  const onEtcd = await onStore('etcd', etcd.url);
  return onEtcd + (await onStore('embedded', 'embedded'));
}

async function onStore(name: string, store: string): Promise<number> {
  await using daemon = await startBenchDaemon(store);
  const names = Array.from({ length: volumes }, (_, index) => `volume-${index}`);
  const waiting = names.values();
  const filling = Array.from({ length: atOnce }, async () => {
    for (const Name of waiting) await daemon.call('VolumeDriver.Create', { Name, Opts: null });
  });
  await Promise.all(filling);
  const inUse = names.slice(0, mounted).map((Name) => ({ Name, ID: Name.padEnd(64, 'a') }));
  for (const mount of inUse) await daemon.call('VolumeDriver.Mount', mount);
  await delay(restMs);
  const parts = await memoryOf(daemon);
  for (const mount of inUse) await daemon.call('VolumeDriver.Unmount', mount);
  const sum = (kind: 'own' | 'proportional' | 'resident') =>
    parts.reduce((total, part) => total + part[kind], 0);
  const own = sum('own');
  const shared = Math.max(...parts.map((part) => part.shared));
  return printFigures(`Memory with ${volumes} volumes, ${mounted} mounted, on ${name}`, [
    ...parts.map(({ part, own: value }) => ({ what: `${part}, its own`, value, unit: 'MB' })),
    { what: 'shared, mostly the program of Node', value: shared, unit: 'MB' },
    { what: 'all, what they share counted once', value: own + shared, unit: 'MB', limit: 250 },
    {
      what: 'sum of PSS: other Node processes take a part',
      value: sum('proportional'),
      unit: 'MB',
    },
    { what: 'sum of RSS: shared pages three times', value: sum('resident'), unit: 'MB' },
  ]);
}

/** The memory of one process, in MB. */
interface Memory {
  readonly part: string;
  readonly own: number;
  readonly shared: number;
  readonly proportional: number;
  readonly resident: number;
}

const programs = { daemon: 'plugin/main', sentinel: 'sentinel/main', worker: 'worker/main' };

async function memoryOf({ path }: BenchDaemon) {
  const found: Memory[] = [];
  for (const pid of await processIds()) {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (!command.includes(path)) continue;
    const part = Object.entries(programs).find(([, program]) => command.includes(program))?.[0];
    if (part === undefined) continue;
    const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8');
    const megabytes = (...kinds: string[]) =>
      [...text.matchAll(new RegExp(`^(?:${kinds.join('|')}):\\s+(\\d+) kB`, 'gm'))]
        .map(([, kilobytes]) => Number(kilobytes) / 1024)
        .reduce((sum, each) => sum + each, 0);
    found.push({
      part,
      own: megabytes('Private_Clean', 'Private_Dirty'),
      shared: megabytes('Shared_Clean', 'Shared_Dirty'),
      proportional: megabytes('Pss'),
      resident: megabytes('Rss'),
    });
  }
  return found;
}
