// One host is cut off and another one's daemon is killed; both return after a third host got their
// volumes. Engines, etcd, images and the 5 s TTL are real.

import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { eventually } from '../../support/eventually.ts';
import { runProcess, waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { Cluster, EngineNode } from '../hosts/cluster.ts';
import { startCluster } from '../hosts/cluster.ts';
import type { ClockWriter } from './clock-writer.ts';
import { startClockWriter, timesOf } from './clock-writer.ts';
import { eventKindsOf, eventsOf } from './events.ts';
import { isStill } from './sentinel-process.ts';

const kinds = ['taken', 'kept', 'ext4', 'xfs'] as const;
type Kind = (typeof kinds)[number];

const options: Record<Kind, Record<string, string>> = {
  taken: {},
  kept: { 'on-lost': 'keep' },
  ext4: { driver: 'image', fs: 'ext4', size: '64M' },
  xfs: { driver: 'image', fs: 'xfs', size: '300M' },
};

/** A host that returns after another host got its volumes. */
interface Victim {
  readonly node: EngineNode;
  readonly writers: Readonly<Record<Kind, ClockWriter>>;
  /** The hashes of its image files after they were fenced; they must not change. */
  hashes: Record<string, string>;
}

describeWith(['docker', 'etcd', 'loop'], 'hosts whose volumes went to another host', () => {
  let cluster: Cluster;
  let victims: Victim[];
  let taker: EngineNode;
  const taken: ClockWriter[] = [];
  /** When each writer of an image had written before its host was cut off. */
  const seen: Record<string, number[]> = {};
  const nodeAt = (index: number): EngineNode => {
    const node = cluster.nodes[index];
    if (!node) throw new Error(`there is no node ${index}`);
    return node;
  };
  const imageOf = (volume: string) => join(cluster.volumeDir, 'image', volume, 'volume.img');
  const logOf = (volume: string) => join(cluster.volumeDir, 'directory', volume, 'data/log');

  beforeAll(async () => {
    cluster = await startCluster({
      engines: ['26.1', '20.10', '26.1'],
      berth: { ttl: '5s', lockTimeout: '40s' },
    });
    taker = nodeAt(2);
    victims = await Promise.all([prepare(nodeAt(0)), prepare(nodeAt(1))]);
    for (const { writers } of victims) {
      for (const { volume, times } of [writers.ext4, writers.xfs]) seen[volume] = await times();
    }
    await nodeAt(0).host.disconnect();
    await nodeAt(1).daemon.kill();
    // The requests arrive while the victims still hold the locks.
    const taking = victims.flatMap(({ writers }) =>
      [writers.taken, writers.kept].map(async ({ volume }) => {
        const log = logOf(volume);
        taken.push(
          await startClockWriter(taker, { name: `n3-${volume}`, volume, everyMs: 50, log }),
        );
      }),
    );
    await Promise.all([...victims.map(hashImages), ...taking]);
    // A host that requested a volume may have written to it, so the victim must not re-acquire the
    // lock.
    const asking = victims.flatMap(({ writers }) =>
      [writers.ext4, writers.xfs].map(({ volume }) =>
        taker.begin('Mount', { Name: volume, ID: 'e'.repeat(64) }),
      ),
    );
    const locks = async () => (await cluster.store.locks()).length;
    await waitFor(async () => (await locks()) === 8, 20_000, 'n3 to hold all locks');
    for (const request of asking) request.leave();
    await waitFor(async () => (await locks()) === 4, 20_000, 'n3 to release the images');
    await Promise.all([nodeAt(0).host.reconnect(), nodeAt(1).daemon.start()]);
    for (const { node, writers } of victims) {
      for (const kind of ['taken', 'ext4', 'xfs'] as const) {
        await node.waitUntilUnmounted(writers[kind].volume, 20_000);
      }
    }
  });
  afterAll(async () => cluster?.[Symbol.asyncDispose]());

  async function prepare(node: EngineNode): Promise<Victim> {
    const start = async (kind: Kind) => {
      const volume = `v-${kind}-${node.name}`;
      await node.create(volume, options[kind]);
      const log = kind === 'taken' || kind === 'kept' ? { log: logOf(volume) } : {};
      return startClockWriter(node, {
        name: `${node.name}-${kind}`,
        volume,
        everyMs: 50,
        ...log,
      });
    };
    const [first, kept, ext4, xfs] = [
      await start('taken'),
      await start('kept'),
      await start('ext4'),
      await start('xfs'),
    ];
    return { node, writers: { taken: first, kept, ext4, xfs }, hashes: {} };
  }

  async function hashImages(victim: Victim): Promise<void> {
    for (const kind of ['ext4', 'xfs'] as const) {
      const { volume } = victim.writers[kind];
      await waitFor(() => isStill(victim.node, volume), 15_000, `${volume} to stand still`);
      victim.hashes[volume] = await hashOf(imageOf(volume));
    }
  }

  async function onEach(check: (victim: Victim) => Promise<void>): Promise<void> {
    for (const victim of victims) {
      await check(victim).catch((error) => {
        throw new Error(`on ${victim.node.name}`, { cause: error });
      });
    }
  }

  test('scenario 44, when a host loses the store: its containers are killed and the events say why', async () => {
    await onEach(async ({ node, writers }) => {
      for (const kind of ['taken', 'ext4', 'xfs'] as const) {
        const writer = writers[kind];
        expect(await writer.state()).toBe('exited');
        expect(await writer.exitCode()).toBe(137);
        await eventually(async () => {
          const told = await eventKindsOf(node, writer.volume);
          expect(told).toEqual(expect.arrayContaining(['paused', 'lost', 'killed']));
          expect(told.at(-1)).toBe('fenced');
        });
      }
    });
  });

  test("defect A1, scenario 35: the old host's last write precedes the new host's first by over a second", async () => {
    for (const { node, writers } of victims) {
      const { volume, name } = writers.taken;
      const log = await readFile(logOf(volume), 'utf8');
      const last = timesOf(log, name).at(-1) ?? Number.NaN;
      const [first = Number.NaN] = timesOf(log, `n3-${volume}`);
      process.stderr.write(`${node.name}: ${first - last} ms between two writers\n`);
      expect(first).toBeGreaterThan(last);
    }
  });

  test("when a dead host comes back: its containers can't start, and the refusal names the new holder", async () => {
    const starting = victims.map(({ node, writers }) => node.docker('start', writers.taken.name));
    for (const started of await Promise.all(starting)) {
      expect(started.code).not.toBe(0);
      expect(started.stderr).toMatch(/mounted on host n3 since/);
    }
  });

  test('when nothing must be fenced: a container with on-lost=keep keeps writing, and an event says who has the lock', async () => {
    await onEach(async ({ node, writers: { kept } }) => {
      expect(await kept.state()).toBe('running');
      await kept.waitUntilItWrites();
      await eventually(async () => {
        expect(await eventsOf(node, kept.volume)).toContainEqual(
          expect.stringMatching(/^lost: .*another host holds it.*on-lost=keep/),
        );
      });
    });
  });

  test('a lost image keeps the bytes it had when it was fenced, and mounts clean on another host', async () => {
    await onEach(async ({ writers: { ext4, xfs }, hashes }) => {
      for (const { volume, name } of [ext4, xfs]) {
        expect(await hashOf(imageOf(volume))).toBe(hashes[volume]);
        await taker.waitUntilUnmounted(volume); // The Mount whose caller had left is rolled back.
        const log = await taker.shell(volume, 'cat /data/log');
        expect(timesOf(`${log}\n`, name)).toEqual(
          expect.arrayContaining(seen[volume] ?? [Number.NaN]),
        );
      }
      const ext = await runProcess('e2fsck', ['-f', '-n', imageOf(ext4.volume)]);
      expect(ext).toMatchObject({ code: 0 });
      expect(await runProcess('xfs_repair', ['-n', imageOf(xfs.volume)])).toMatchObject({
        code: 0,
      });
    });
  });
});

async function hashOf(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
}
