// A process of the bench `hosts`: the lock and catalog part of the daemon for several hosts, or bare
// watches in their place. It answers the questions of its parent.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as delay } from 'node:timers/promises';
import { EtcdClient } from '../lib/etcd/client.ts';
import { prefixRange } from '../lib/etcd/ranges.ts';
import { systemClock } from '../lib/running/clock.ts';
import type { OpenCluster } from '../plugin/cluster.ts';
import { openCluster } from '../plugin/cluster.ts';
import { loadConfig } from '../plugin/config/config.ts';
import type { HostsPlan, HostsReport } from './hosts-processes.ts';

const plan: HostsPlan = JSON.parse(process.argv[2] ?? '');

interface Watching {
  isLive(): boolean;
  /** The number of volumes that it knows. */
  volumes(): number;
}

let events = 0;

async function host(name: string): Promise<Watching> {
  const stateDir = join(plan.directory, name);
  await mkdir(stateDir);
  const config = loadConfig(
    [...['--host', name, '--store', plan.store, '--state-dir', stateDir], ...placesBelow(stateDir)],
    {},
  );
  const started = new AsyncDisposableStack();
  const signal = new AbortController().signal;
  const { manager, mirror, catalog }: OpenCluster = await openCluster({
    ...{ config, signal, started },
    clock: systemClock(),
  });
  await mirror.firstReset;
  // The other hosts of this process may keep it too busy for the time limit of a call.
  while (!(await manager.open().catch(() => undefined))) await delay(100);
  mirror.listen(() => {
    events += 1;
  });
  return {
    isLive: () => mirror.isLive && manager.leftMs > 0,
    volumes: () => (mirror.hasBeenLive ? catalog.list().length : 0),
  };
}

function placesBelow(directory: string): string[] {
  const places = { 'volume-dir': 'volumes', 'mount-dir': 'mounts', socket: 'socket' };
  return [...Object.entries(places), ['admin-socket', 'admin'] as const].flatMap(([flag, name]) => [
    `--${flag}`,
    join(directory, name),
  ]);
}

/** Receives the same events as a host, and does nothing with them. */
async function bareWatch(): Promise<Watching> {
  const client = new EtcdClient({ endpoints: [new URL(plan.store).host] });
  const { header } = await client.range({ key: Buffer.from('/berth/'), limit: 1 });
  await client.watch(prefixRange('/berth/'), Number(header.revision) + 1, () => {
    events += 1;
  });
  return { isLive: () => true, volumes: () => 0 };
}

// One after the other: the bench measures them as they run.
const watching: Watching[] = [];
for (const name of plan.hosts) watching.push(await (plan.isBare ? bareWatch() : host(name)));

process.on('message', (question) => {
  const { user, system } = process.cpuUsage();
  const report: HostsReport = {
    live: watching.filter((each) => each.isLive()).length,
    cpuMs: (user + system) / 1_000,
    events,
    ...(question === 'volumes' && { volumes: watching.map((each) => each.volumes()) }),
  };
  process.send?.(report);
});
process.on('disconnect', () => process.exit());
process.send?.('ready');
