// A volume with its own file system on storage that is too slow to freeze it in time. Real engines on
// both versions of control groups, etcd and file systems; the disk is throttled by control groups
// (version 1 only).
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { bootNowMs } from '../../../lib/linux/boot.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { makeSlowDisk } from '../../support/slow-disk.ts';
import type { EngineNode } from '../hosts/cluster.ts';
import { startCluster } from '../hosts/cluster.ts';
import { eventsOf } from './events.ts';
import { sentinelReport } from './sentinel-process.ts';
import { watchTickets } from './ticket-watch.ts';

describeWith(['docker', 'etcd', 'throttle'], 'storage that is slow', () => {
  test('a file system that is not frozen in time is shut down before another host may have it (control groups v1 and v2)', async () => {
    await using disk = await makeSlowDisk(512);
    await using cluster = await startCluster({
      engines: [
        { docker: '26.1', controlGroups: 1 },
        { docker: '26.1', controlGroups: 2 },
      ],
      ...{ berth: { ttl: '20s' }, volumeDir: disk.path },
    });
    await using tickets = await watchTickets(cluster);
    const { nodes } = cluster;
    // The first volume marks the pool: two hosts at once would each find the other's mark missing.
    for (const node of nodes) {
      await node.create(volumeOf(node), { driver: 'image', size: '200M' });
    }
    await Promise.all(nodes.map((node, index) => startWriting(node, scripts[index] ?? '')));
    await disk.limitKernel(100_000);
    // Now a freeze would take minutes: it has to write everything back.
    await sleep(3_000);
    const beganMs = bootNowMs();
    await Promise.all(nodes.map(({ host }) => host.disconnect()));
    const reports = await Promise.all(
      nodes.map((node) => {
        const gone = tickets.waitUntilGone(volumeOf(node), beganMs, 60_000);
        return reportsUntil(gone, node);
      }),
    );
    for (const report of reports.flat().filter(({ state }) => state === 'fenced')) {
      expect(['frozen', 'cut-off']).toContain(report.fs);
    }
    expect(reports.map((all) => all.at(-1)?.fs)).toEqual(nodes.map(() => 'cut-off'));
    for (const node of nodes) {
      const late = `echo late > ${node.mountpoint(volumeOf(node))}/late`;
      expect((await node.host.exec('sh', ['-c', late])).stderr).toMatch(/Input\/output error/);
    }
    await disk.limitKernel(undefined);
    await Promise.all(nodes.map(({ host }) => host.reconnect()));
    for (const node of nodes) {
      const events = await eventsUntilKilled(node);
      expect(events).toMatch(/^failed: .* was shut down.* \d+ ms AFTER the deadline/m);
      expect(events).not.toMatch(/was frozen/);
    }
  });
});

const volumeOf = ({ name }: EngineNode) => `db-${name}`;

const write = 'dd if=/dev/zero of=/data/big bs=1M count=100 conv=notrunc';
/** A writer that waits for the disk when its host is cut off, and a writer that stands still at once. */
const scripts = [`while ${write}; do :; done`, `${write}; echo ready; exec sleep 1000`];

async function startWriting(node: EngineNode, script: string): Promise<void> {
  const flags = ['-d', '--name', 'writer', '-v', `${volumeOf(node)}:/data`];
  await node.dockerOk('run', ...flags, 'busybox', 'sh', '-c', script);
}

interface FenceReport {
  readonly state: string | undefined;
  readonly fs: string | undefined;
}

/** Returns what the sentinel reported of the volume until then, and right after it. */
async function reportsUntil(end: Promise<unknown>, node: EngineNode): Promise<FenceReport[]> {
  const found: FenceReport[] = [];
  const look = async () => {
    const { volumes, watched } = await sentinelReport(node);
    const volume = volumeOf(node);
    found.push({ state: volumes[volume], fs: watched?.[volume]?.fs });
  };
  const over = end.then(() => 'over');
  while ((await Promise.race([over, sleep(100, 'on')])) === 'on') {
    // A sentinel that fences may answer late.
    await look().catch(() => undefined);
  }
  await waitFor(
    () =>
      look().then(
        () => true,
        () => false,
      ),
    10_000,
    'a report after the end',
  );
  return found;
}

async function eventsUntilKilled(node: EngineNode): Promise<string> {
  const killed = async () => {
    const all = (await eventsOf(node, volumeOf(node))).join('\n');
    return /^killed:/m.test(all) ? all : undefined;
  };
  return waitFor(killed, 20_000, `the container of ${node.name} to be killed`);
}
