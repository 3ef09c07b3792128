import { readFile } from 'node:fs/promises';
import { startEtcd } from '../test/support/etcd-server.ts';
import { startBenchDaemon } from './daemon.ts';
import { printFigures, quantile, timed } from './statistics.ts';
import { addRecords } from './stored-volumes.ts';

const volumes = 10_000;

/**
 * Measures the engine's calls over the socket on a cluster with 10,000 volumes, and the daemon's
 * memory.
 */
export async function benchPluginSocket(): Promise<number> {
  await using etcd = await startEtcd({ onDisk: true });
  await using daemon = await startBenchDaemon(etcd.url);
  // Now the pool of the driver has the mark of this cluster, and volumes may be missing in it.
  await daemon.call('VolumeDriver.Create', { Name: 'first', Opts: null });
  await daemon.call('VolumeDriver.Remove', { Name: 'first' });
  await addRecords(etcd, volumes);
  const get = (index: number) =>
    daemon.call('VolumeDriver.Get', { Name: `volume-${(index * 7919) % volumes}` });
  const list = () => daemon.call('VolumeDriver.List', {});

  const listed = JSON.parse(await list());
  if (listed.Volumes.length !== volumes) throw new Error(`lists ${listed.Volumes.length} volumes`);
  for (let i = 0; i < 2_000; i += 1) await get(i);
  for (let i = 0; i < 20; i += 1) await list();
  const getMs: number[] = [];
  const listMs: number[] = [];
  for (let i = 0; i < 5_000; i += 1) getMs.push(await timed(() => get(i)));
  for (let i = 0; i < 100; i += 1) listMs.push(await timed(list));
  const mutations = await mutationTimes(daemon.call);
  const memory = await residentMegabytes(daemon.process.pid);

  return printFigures(`Plugin socket with ${volumes} volumes on etcd`, [
    { what: 'Get, p50', value: quantile(getMs, 0.5), unit: 'ms', limit: 1 },
    { what: 'Get, p99', value: quantile(getMs, 0.99), unit: 'ms' },
    { what: 'List, p50', value: quantile(listMs, 0.5), unit: 'ms', limit: 60 },
    ...mutations,
    { what: 'resident memory', value: memory, unit: 'MB', limit: 150 },
  ]);
}

async function mutationTimes(call: (endpoint: string, body: object) => Promise<string>) {
  const ms: Record<string, number[]> = { Create: [], Mount: [], Unmount: [], Remove: [] };
  for (let i = 0; i < 50; i += 1) {
    const Name = `fresh-${i}`;
    const mount = { Name, ID: 'a'.repeat(64) };
    ms.Create?.push(await timed(() => call('VolumeDriver.Create', { Name, Opts: null })));
    ms.Mount?.push(await timed(() => call('VolumeDriver.Mount', mount)));
    ms.Unmount?.push(await timed(() => call('VolumeDriver.Unmount', mount)));
    ms.Remove?.push(await timed(() => call('VolumeDriver.Remove', { Name })));
  }
  return Object.entries(ms).map(([operation, values]) => ({
    what: `${operation}, p50`,
    value: quantile(values, 0.5),
    unit: 'ms',
  }));
}

async function residentMegabytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
}
