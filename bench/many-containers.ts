import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { bootNowMs } from '../lib/linux/boot.ts';
import type { ClockWriter } from '../test/e2e/fencing/clock-writer.ts';
import { startClockWriter } from '../test/e2e/fencing/clock-writer.ts';
import { deadlineOf, sentinelReport } from '../test/e2e/fencing/sentinel-process.ts';
import { watchTickets } from '../test/e2e/fencing/ticket-watch.ts';
import type { Cluster, EngineNode } from '../test/e2e/hosts/cluster.ts';
import { startCluster } from '../test/e2e/hosts/cluster.ts';
import { waitFor } from '../test/support/processes.ts';
import type { Figure } from './statistics.ts';
import { printFigures } from './statistics.ts';

const counts = [1, 20, 100, 200];
const ttls = [20, 10];
const startsAtOnce = 4;

interface Stop {
  /** The last write of any container before the deadline; negative: after it. */
  readonly beforeDeadlineMs: number;
  /** The last write of any container before another host could have its lock. */
  readonly beforeGrantMs: number;
  /** The time between the first and the last container that stood still. */
  readonly spanMs: number;
  /** The time between the first and the last container that went on. */
  readonly resumeSpanMs: number;
}

/**
 * Measures how long a host needs to stop and to resume many containers with one deadline, each of
 * which writes to a volume of its own.
 */
export async function benchManyContainers(): Promise<number> {
  let over = 0;
  for (const ttl of ttls) {
    const figures: Figure[] = [];
    await using cluster = await startCluster({ engines: ['26.1'], berth: { ttl: `${ttl}s` } });
    const writers: ClockWriter[] = [];
    for (const count of counts) {
      await startUpTo(count, cluster, writers);
      const stop = await stopAll(cluster, writers);
      const what = `${count} containers:`;
      figures.push(
        {
          what: `${what} last write before the deadline`,
          value: stop.beforeDeadlineMs,
          unit: 'ms',
          atLeast: 0,
        },
        {
          what: `${what} last write before a grant`,
          value: stop.beforeGrantMs,
          unit: 'ms',
          atLeast: 0,
        },
        { what: `${what} from the first to the last pause`, value: stop.spanMs, unit: 'ms' },
        {
          what: `${what} from the first to the last resume`,
          value: stop.resumeSpanMs,
          unit: 'ms',
          limit: 3_000,
        },
      );
    }
    over += printFigures(`Containers that are stopped at one deadline, TTL ${ttl} s`, figures);
  }
  return over;
}

async function startUpTo(count: number, cluster: Cluster, writers: ClockWriter[]): Promise<void> {
  const [node] = cluster.nodes;
  if (!node) throw new Error('there is no host');
  const start = async () => {
    while (writers.length < count) {
      const volume = `v${writers.length}`;
      const log = join(cluster.volumeDir, 'directory', volume, 'data/log');
      const place = writers.push(undefined as never) - 1;
      await node.create(volume, { driver: 'directory' });
      const options = { name: `w-${volume}`, volume, everyMs: 250, log };
      writers[place] = await startClockWriter(node, options);
    }
  };
  await Promise.all(Array.from({ length: startsAtOnce }, start));
}

/** Cuts the host off until all its locks have ended, and connects it again. */
async function stopAll(cluster: Cluster, writers: readonly ClockWriter[]): Promise<Stop> {
  const [node] = cluster.nodes as [EngineNode];
  await using tickets = await watchTickets(cluster);
  const beganMs = bootNowMs();
  await node.host.disconnect();
  const volumes = writers.map(({ volume }) => volume);
  const goneAtMs = await tickets.waitUntilGone(volumes.at(-1) ?? '', beganMs, 60_000);
  await sleep(500);
  const areFenced = async () => {
    const report = await sentinelReport(node).catch(() => undefined);
    return report !== undefined && volumes.every((volume) => report.volumes[volume] === 'fenced');
  };
  await waitFor(areFenced, 20_000, 'all volumes to be fenced');
  const deadlineMs = await deadlineOf(node, volumes[0] ?? '');
  const last = await Promise.all(writers.map((writer) => writer.lastWriteMs()));
  const reconnectedMs = bootNowMs();
  await node.host.reconnect();
  const firstAgain = async ({ times }: ClockWriter) =>
    (await times()).find((time) => time > reconnectedMs);
  const doAllWrite = async () =>
    (await Promise.all(writers.map(firstAgain))).every((time) => time !== undefined);
  await waitFor(doAllWrite, 60_000, 'all containers to write again');
  const again = await Promise.all(writers.map(async (writer) => (await firstAgain(writer)) ?? 0));
  return {
    beforeDeadlineMs: deadlineMs - Math.max(...last),
    beforeGrantMs: goneAtMs - Math.max(...last),
    spanMs: Math.max(...last) - Math.min(...last),
    resumeSpanMs: Math.max(...again) - Math.min(...again),
  };
}
