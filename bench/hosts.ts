import process from 'node:process';
import { setTimeout as delay } from 'node:timers/promises';
import type { Etcd } from '../test/support/etcd-server.ts';
import { startEtcd } from '../test/support/etcd-server.ts';
import { waitFor } from '../test/support/processes.ts';
import { makeTemporaryDirectory } from '../test/support/temporary-directory.ts';
import type { BenchDaemon } from './daemon.ts';
import { startBenchDaemon } from './daemon.ts';
import type { HostsReport } from './hosts-processes.ts';
import { HostsProcesses } from './hosts-processes.ts';
import type { LimitedMachine } from './limited-machine.ts';
import { limitedMachine } from './limited-machine.ts';
import type { Figure } from './statistics.ts';
import { printFigures } from './statistics.ts';
import { addRecords } from './stored-volumes.ts';

const counts = (process.env.HOSTS ?? '10,50,100').split(',').map(Number);
const volumes = Number(process.env.VOLUMES ?? 10_000);
const perProcess = 25;
const mounts = 20;
const names = Array.from({ length: mounts }, (_, index) => `mounted-${index}`);
/** A shared etcd on a busy machine has so much of a core. */
const share = 0.1;
/** A host that is not live after this time counts as never. */
const neverMs = 400_000;

/**
 * Measures what many hosts cost each other, and how long they need after etcd was away: the lock and
 * catalog part of the daemon for each host, in a few processes, on one etcd with 10,000 volumes. The
 * Mounts are made by a whole daemon.
 */
export async function benchHosts(): Promise<number> {
  let over = 0;
  for (const count of counts) over += await withHosts(count);
  return over;
}

async function withHosts(count: number): Promise<number> {
  await using limited = await limitedMachine();
  await using etcd = await startEtcd({ onDisk: true, in: limited.machine });
  await using mounter = await startBenchDaemon(etcd.url);
  for (const Name of names) await mounter.call('VolumeDriver.Create', { Name, Opts: null });
  await addRecords(etcd, volumes, { mounted: true });
  await using directory = await makeTemporaryDirectory();
  const plan = { store: etcd.url, directory: directory.path };
  await using bare = await HostsProcesses.start({ ...plan, isBare: true }, 10, 10);
  await using hosts = await HostsProcesses.start({ ...plan, isBare: false }, count, perProcess);
  await untilLive(hosts);
  const title = `${count} hosts, ${volumes} volumes`;
  let over = printFigures(title, await costsOfMounts(etcd, mounter, hosts, bare));
  const whole = await restarted(etcd, limited, hosts, undefined);
  over += printFigures(`${title}: etcd restarted`, figuresOf(whole, 10));
  const tenth = await restarted(etcd, limited, hosts, share);
  over += printFigures(`${title}: etcd restarted with a tenth of a core`, figuresOf(tenth, 40));
  const all = await restarted(etcd, limited, hosts, share, () => compact(etcd, mounter));
  return over + printFigures(`${title}: the same, and all is read again`, figuresOf(all));
}

/** Mounts one volume a second, and compares the time with one in which nobody mounts anything. */
async function costsOfMounts(
  etcd: Etcd,
  mounter: BenchDaemon,
  hosts: HostsProcesses,
  bare: HostsProcesses,
): Promise<Figure[]> {
  const all = [hosts, bare] as const;
  const reports = () => Promise.all(all.map((each) => each.report()));
  const spent = async (work: (Name: string) => Promise<unknown>) => {
    const before = await reports();
    const etcdBefore = await cpuMsOf(etcd);
    for (const name of names) {
      const startedAt = performance.now();
      await work(name);
      await delay(Math.max(0, 1_000 - (performance.now() - startedAt)));
    }
    const after = await reports();
    const etcdMs = ((await cpuMsOf(etcd)) - etcdBefore) / names.length;
    const perHost = (of: (report: HostsReport) => number) =>
      all.map(({ count }, at) => {
        const [from, to] = [before[at], after[at]];
        return from && to ? (of(to) - of(from)) / count / names.length : Number.NaN;
      });
    const events = perHost((report) => report.events);
    return { cpuMs: [...perHost(({ cpuMs }) => cpuMs), etcdMs], events };
  };
  const id = { ID: 'a'.repeat(64) };
  await delay(5_000); // The start is over.
  const before = await spent(async () => undefined);
  const mounting = await spent((Name) => mounter.call('VolumeDriver.Mount', { Name, ...id }));
  for (const Name of names) await mounter.call('VolumeDriver.Unmount', { Name, ...id });
  await delay(2_000);
  const after = await spent(async () => undefined);
  const idle = before.cpuMs.map((each, at) => (each + (after.cpuMs[at] ?? Number.NaN)) / 2);
  const [host = Number.NaN, floor = Number.NaN, ofEtcd = Number.NaN] = mounting.cpuMs.map(
    (each, at) => each - (idle[at] ?? Number.NaN),
  );
  return [
    { what: 'CPU of an idle host, per second', value: idle[0] ?? Number.NaN, unit: 'ms' },
    { what: 'CPU of each host for a Mount elsewhere', value: host, unit: 'ms', limit: 1 },
    {
      what: 'changes of it that each host receives',
      value: mounting.events[0] ?? Number.NaN,
      unit: '',
    },
    { what: 'CPU of a watch that does nothing', value: floor, unit: 'ms' },
    { what: 'CPU of etcd for a Mount', value: ofEtcd, unit: 'ms' },
  ];
}

interface Restart {
  /** Milliseconds from the start of etcd until it serves. */
  readonly servesMs: number;
  /** Milliseconds from then until every host is live; Infinity: never. */
  readonly liveMs: number;
  readonly sentBytes: number;
  readonly etcdCpuMs: number;
}

/**
 * Freezes the hosts while `meanwhile` runs, kills etcd, and starts it with this share of a core as they go
 * on.
 */
async function restarted(
  etcd: Etcd,
  { limit }: LimitedMachine,
  hosts: HostsProcesses,
  core: number | undefined,
  meanwhile = async () => {},
): Promise<Restart> {
  hosts.pause();
  await meanwhile();
  await etcd.kill();
  hosts.resume();
  await delay(2_000);
  await limit(core);
  const startedAt = performance.now();
  await etcd.restart();
  const servesMs = performance.now() - startedAt;
  const liveMs = await untilLive(hosts);
  await limit(undefined);
  const sentBytes = await metric(etcd, 'etcd_network_client_grpc_sent_bytes_total');
  const etcdCpuMs = await cpuMsOf(etcd);
  await untilLive(hosts);
  const { volumes: known = [] } = await hosts.report('volumes');
  const wrong = known.filter((each) => each !== volumes + mounts);
  if (wrong.length > 0) throw new Error(`${wrong.length} hosts know ${wrong[0]} volumes`);
  return { servesMs, liveMs, sentBytes, etcdCpuMs };
}

/** Makes a change that the frozen hosts miss, and then makes etcd forget it. */
async function compact(etcd: Etcd, mounter: BenchDaemon): Promise<void> {
  await etcd.restart(); // Else the kernel would receive it for the hosts.
  const [Name = ''] = names;
  const other = { Name, ID: 'b'.repeat(64) };
  await waitFor(() => mounter.call('VolumeDriver.Mount', other), 30_000, 'the daemon to mount');
  await mounter.call('VolumeDriver.Unmount', other);
  await etcd.ctlOk('compact', String(await etcd.revision()));
}

function figuresOf(restart: Restart, limit = neverMs / 1_000): Figure[] {
  const { servesMs, liveMs, sentBytes, etcdCpuMs } = restart;
  return [
    { what: 'until etcd serves', value: servesMs / 1_000, unit: 's' },
    { what: 'then until all hosts are live', value: liveMs / 1_000, unit: 's', limit },
    { what: 'CPU of etcd until then', value: etcdCpuMs / 1_000, unit: 's' },
    { what: 'sent by etcd until then', value: sentBytes / 1e6, unit: 'MB' },
  ];
}

/** Returns the milliseconds from now until all hosts are live. */
async function untilLive(hosts: HostsProcesses): Promise<number> {
  const startedAt = performance.now();
  while (performance.now() - startedAt < neverMs) {
    if ((await hosts.report()).live === hosts.count) return performance.now() - startedAt;
    await delay(100);
  }
  return Number.POSITIVE_INFINITY;
}

async function cpuMsOf(etcd: Etcd): Promise<number> {
  return 1_000 * (await metric(etcd, 'process_cpu_seconds_total'));
}

async function metric(etcd: Etcd, name: string): Promise<number> {
  const answer = await fetch(`${etcd.endpoints[0]}/metrics`);
  const line = (await answer.text()).split('\n').find((each) => each.startsWith(`${name} `));
  return Number(line?.split(' ').at(-1));
}
