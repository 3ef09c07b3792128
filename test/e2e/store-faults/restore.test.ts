// etcd is put back from a snapshot while containers write: two Docker hosts append to one file of a
// volume, and no line of the first may follow the first line of the second. Engines, etcd, snapshots
// and restores are real; time is real.
//
// `npm test` runs three ways; TEST_RESTORES=all runs every combination.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { snapshotOf } from '../../support/etcd-backup.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { Cluster, EngineNode } from '../hosts/cluster.ts';
import { nodesOf, startCluster } from '../hosts/cluster.ts';

interface Way {
  readonly restore: 'plain' | 'bump';
  /** How long etcd is away. */
  readonly outage: 'short' | 'beyond the TTL';
  /** Whether the first host can reach etcd when it is back. */
  readonly first: 'connected' | 'cut off';
  readonly members: 1 | 3;
}

const all: readonly Way[] = (['plain', 'bump'] as const).flatMap((restore) =>
  (['short', 'beyond the TTL'] as const).flatMap((outage) =>
    (['connected', 'cut off'] as const).flatMap((first) =>
      ([1, 3] as const).map((members) => ({ restore, outage, first, members })),
    ),
  ),
);

const usual: readonly Way[] = [
  { restore: 'plain', outage: 'short', first: 'connected', members: 1 },
  { restore: 'bump', outage: 'short', first: 'cut off', members: 3 },
  { restore: 'plain', outage: 'beyond the TTL', first: 'connected', members: 1 },
];

const ttlMs = 12_000;
const berth = { ttl: `${ttlMs / 1_000}s`, lockTimeout: '5s' };

describeWith(['root', 'docker', 'etcd'], 'etcd is put back from a snapshot', () => {
  test.each(process.env.TEST_RESTORES === 'all' ? all : usual)(
    '$restore restore, $outage outage, the writer $first, $members member(s): no line of an earlier owner follows one of the next',
    async (way) => {
      await using cluster = await startCluster({
        engines: ['26.1', '26.1'],
        berth,
        etcd: { members: way.members },
      });
      const { one, two } = nodesOf(cluster, 0);
      await one.dockerOk('volume', 'create', '-d', 'berth', 'db');
      await one.dockerOk('volume', 'create', '-d', 'berth', 'idle');
      await using backup = await snapshotOf(cluster.etcd);
      for (const name of ['v1', 'v2', 'v3'])
        await one.dockerOk('volume', 'create', '-d', 'berth', name);
      await startWriter(one);
      await waitFor(() => hasWritten(cluster, one), 10_000, 'the first host to write');

      if (way.first === 'cut off') await one.host.disconnect();
      await backup.stop();
      if (way.outage === 'beyond the TTL') await pause(ttlMs);
      await backup.restore(way.restore === 'bump' ? { bumpBy: 1_000_000 } : {});

      const keeps = way.first === 'connected' && way.outage === 'short';
      if (keeps) {
        // Its ticket is not in the snapshot: it puts it back, and nobody else gets the volume.
        await waitFor(() => knows(one, 'relocked'), 10_000, 'the lock to be put back');
        const { code, stderr } = await tryWriter(two);
        expect(code).not.toBe(0);
        expect(stderr).toMatch(/nobody is granted a lock|mounted on host n1/);
        const before = (await lines(cluster)).length;
        await waitFor(async () => (await lines(cluster)).length > before, 10_000, 'n1 to go on');
        expect(await conditions(two)).toMatch(/the store has (had )?another history/);
        await waitFor(
          async () => !(await conditions(two)).includes('nobody is granted'),
          ttlMs + 5_000,
          'the quarantine to end',
        );
        expect((await tryWriter(two)).stderr).toMatch(/mounted on host n1/);
        await one.down('writer');
      }
      await waitFor(async () => (await tryWriter(two)).code === 0, 60_000, 'n2 to get the volume');
      await waitFor(() => hasWritten(cluster, two), 10_000, 'the second host to write');
      await pause(1_000);
      if (way.first === 'cut off') {
        await one.host.reconnect();
        await one.waitUntilUnmounted('db', 30_000);
      }
      await pause(1_000);
      const owners = ownersOf(await lines(cluster));
      expect(owners).toEqual(['n1', 'n2']);

      for (const node of [one, two]) {
        await waitFor(() => knows(node, 'history'), 10_000, `the event on ${node.name}`);
      }
      await two.down('writer');
      for (const node of [one, two]) {
        expect(await node.shell('db', 'tail -n 1 /data/lines')).toContain('n2');
        await node.shell('idle', 'touch /data/here');
      }
    },
  );
});

/** Appends `HOST NUMBER` to one file, some fifty times a second. */
function writerArgs({ name }: EngineNode): string[] {
  const script = `i=0; while :; do i=$((i+1)); echo "${name} $i" >> /data/lines; usleep 20000; done`;
  return ['run', '-d', '--name', 'writer', '-v', 'db:/data', 'busybox', 'sh', '-c', script];
}

async function startWriter(node: EngineNode): Promise<void> {
  await node.dockerOk(...writerArgs(node));
}

async function tryWriter(node: EngineNode) {
  const result = await node.docker(...writerArgs(node));
  if (result.code !== 0) await node.docker('rm', '-f', 'writer');
  return result;
}

async function lines({ volumeDir }: Cluster): Promise<string[]> {
  const text = await readFile(join(volumeDir, 'directory/db/data/lines'), 'utf8').catch(() => '');
  return text.split('\n').filter(Boolean);
}

async function hasWritten(cluster: Cluster, { name }: EngineNode): Promise<boolean> {
  return (await lines(cluster)).some((line) => line.startsWith(`${name} `));
}

/** Returns the writers in the order of the lines, each once for each uninterrupted run of lines. */
function ownersOf(all: readonly string[]): string[] {
  const names = all.map((line) => line.split(' ')[0] ?? '');
  return names.filter((name, index) => name !== names[index - 1]);
}

async function conditions(node: EngineNode): Promise<string> {
  return JSON.stringify(await node.status());
}

async function knows(node: EngineNode, kind: string): Promise<boolean> {
  return (await node.events()).some((event) => event.kind === kind);
}
