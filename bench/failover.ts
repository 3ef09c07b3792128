import { bootNowMs } from '../lib/linux/boot.ts';
import { startClockWriter } from '../test/e2e/fencing/clock-writer.ts';
import type { EngineNode } from '../test/e2e/hosts/cluster.ts';
import { startCluster, startEngineNode } from '../test/e2e/hosts/cluster.ts';
import { startHost } from '../test/support/host.ts';
import { printFigures, quantile } from './statistics.ts';

const ttlMs = 5_000;
const runs = 20;

/** Measures from a host's death until a waiting container on another host has written. */
export async function benchFailover(): Promise<number> {
  const settings = { ttl: `${ttlMs}ms`, lockTimeout: '20s' };
  await using cluster = await startCluster({ engines: ['26.1'], berth: settings });
  const [survivor] = cluster.nodes;
  if (!survivor) throw new Error('there is one node');
  const berth = { store: cluster.etcd.url, volumeDir: cluster.volumeDir, ...settings };

  const startMs: number[] = [];
  const failoverMs: number[] = [];
  for (let run = 0; run < runs; run += 1) {
    await using host = await startHost({ network: cluster.network, name: `dies${run}` });
    await using node = await startEngineNode(host, berth);
    const volume = `v${run}`;
    await node.create(volume);
    await startClockWriter(node, { name: 'first', volume });
    startMs.push(await firstWriteMs(survivor, `free${run}`, bootNowMs()));
    const diedMs = bootNowMs();
    await host.cutPower();
    failoverMs.push(await firstWriteMs(survivor, volume, diedMs));
  }
  const start = quantile(startMs, 0.5);
  const limit = ttlMs + 1_000 + start;
  return printFigures(`From a host's death to a write elsewhere, ${runs} runs, TTL ${ttlMs} ms`, [
    { what: 'start of a container on a free volume, median', value: start, unit: 'ms' },
    { what: 'longest such start', value: Math.max(...startMs), unit: 'ms' },
    { what: 'fail-over, median', value: quantile(failoverMs, 0.5), unit: 'ms', limit },
    { what: 'longest fail-over', value: Math.max(...failoverMs), unit: 'ms', limit },
  ]);
}

/**
 * Starts a container that writes to a volume; returns its first write's distance from `sinceMs`.
 */
async function firstWriteMs(node: EngineNode, volume: string, sinceMs: number): Promise<number> {
  await node.create(volume);
  const name = `writes-${volume}`;
  const writer = await startClockWriter(node, { name, volume });
  const [first = Number.NaN] = await writer.times();
  await node.down(name);
  return first - sinceMs;
}
