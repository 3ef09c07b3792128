// Two hosts lose the network once, for less than the TTL, while containers of every kind run; each
// test checks one kind. Engines, etcd, file systems and the 8 s TTL are real.

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { eventually } from '../../support/eventually.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { Cluster, EngineNode } from '../hosts/cluster.ts';
import { startCluster } from '../hosts/cluster.ts';
import type { ClockWriter } from './clock-writer.ts';
import { longestGap, startClockWriter } from './clock-writer.ts';
import { eventKindsOf, eventsOf } from './events.ts';
import { isStill, sentinelReport } from './sentinel-process.ts';

const ttlMs = 8_000;

describeWith(['docker', 'etcd', 'loop'], 'hosts that are cut off for less than the TTL', () => {
  let cluster: Cluster;
  let hosts: Scene[];
  beforeAll(async () => {
    cluster = await startCluster({ engines: ['26.1', '20.10'], berth: { ttl: `${ttlMs}ms` } });
    hosts = await Promise.all(cluster.nodes.map((node) => prepare(node)));
    await Promise.all(hosts.map((scene) => changeFromElsewhere(cluster, scene)));
    await Promise.all(hosts.map((scene) => cutOffForAMoment(cluster, scene)));
  });
  afterAll(async () => cluster?.[Symbol.asyncDispose]());

  /** Checks one host after the other, so that a failure names its host. */
  async function onEach(check: (scene: Scene) => Promise<void>): Promise<void> {
    for (const scene of hosts) {
      await check(scene).catch((error) => {
        throw new Error(`on ${scene.node.name}`, { cause: error });
      });
    }
  }

  test('when a host loses the store: its container is paused before its lock ends and later resumed', async () => {
    await onEach(async ({ node, plain, before, listed, heldWhenFenced }) => {
      expect(heldWhenFenced).toContain(`mount/${plain.volume}`);
      expect(listed).toMatch(new RegExp(`^${plain.name} Up .*\\(Paused\\)$`, 'm'));
      await plain.waitUntilItWrites();
      expect(await plain.incarnation()).toBe(before);
      const { fromMs, toMs } = longestGap(await plain.times());
      expect(toMs - fromMs).toBeGreaterThan(200);
      await eventually(async () => {
        expect(await eventsWhileFenced(node, plain.volume)).toEqual([
          // A busy engine may not tell the name in time.
          expect.stringMatching(/^paused: paused container (w-plain-\S+ \(\w{12}\)|\w{12}) \d+ ms/),
          expect.stringMatching(/^resumed: resumed container w-plain-\S+ \(\w{12}\)/),
        ]);
      });
    });
  });

  test('with on-lost=stop the container is asked to stop, and has ended before its lock ends', async () => {
    await onEach(async ({ node, asked, deaf, heldWhenFenced }) => {
      for (const writer of [asked, deaf]) {
        await writer.waitUntil('exited', 10_000);
        expect(heldWhenFenced).toContain(`mount/${writer.volume}`);
      }
      expect(await asked.exitCode()).toBe(0);
      expect(await deaf.exitCode()).toBe(137);
      await eventually(async () => {
        expect(await kindsWhileFenced(node, asked.volume)).toEqual(['stopped']);
        expect(await kindsWhileFenced(node, deaf.volume)).toEqual(['stopped', 'killed']);
      });
    });
    // The engines have then unmounted their volumes.
    const left = async () =>
      (await cluster.store.locks()).filter((lock) => /asked|deaf/.test(lock));
    await waitFor(async () => (await left()).length === 0, 10_000, 'the locks to be released');
  });

  test('when nothing must be fenced: containers with on-lost=keep or access=shared keep writing', async () => {
    await onEach(async ({ node, plain, kept, shared }) => {
      const pause = longestGap(await plain.times());
      for (const writer of [kept, shared]) {
        expect(await writer.state()).toBe('running');
        const during = (ms: number) => ms > pause.fromMs && ms < pause.toMs;
        expect((await writer.times()).filter(during)).not.toEqual([]);
        expect(await eventsWhileFenced(node, writer.volume)).toEqual([]);
      }
    });
  });

  test('a container that its user had paused stays paused', async () => {
    await onEach(async ({ node, users }) => {
      expect(await users.state()).toBe('paused');
      expect(await eventsWhileFenced(node, users.volume)).toEqual([]);
      await node.dockerOk('unpause', users.name);
      await users.waitUntilItWrites();
    });
  });

  test('an image volume is frozen with its container, and its writer goes on afterwards', async () => {
    await onEach(async ({ node, image }) => {
      await image.waitUntilItWrites();
      await eventually(async () => {
        expect(await kindsWhileFenced(node, image.volume)).toEqual(['paused', 'resumed']);
      });
      expect(node.daemon.log()).not.toContain('ERROR');
    });
  });
});

/** The containers of one host, and what the test saw of them. */
interface Scene {
  readonly node: EngineNode;
  readonly plain: ClockWriter;
  readonly before: string;
  /** The output of `docker ps` while the host was cut off. */
  listed: string;
  /** The locks in the store when the sentinel had fenced, before the host was back. */
  heldWhenFenced: readonly string[];
  /** Ends at SIGTERM. */
  readonly asked: ClockWriter;
  /** Ignores SIGTERM. */
  readonly deaf: ClockWriter;
  readonly kept: ClockWriter;
  readonly shared: ClockWriter;
  readonly users: ClockWriter;
  readonly image: ClockWriter;
}

async function prepare(node: EngineNode): Promise<Scene> {
  const { name } = node;
  const fs = name === 'n1' ? { fs: 'ext4', size: '64M' } : { fs: 'xfs', size: '300M' };
  const writer = async (kind: string, options: Record<string, string>, first?: string) => {
    const volume = `v-${kind}-${name}`;
    await node.create(volume, options);
    const rest = first === undefined ? {} : { first };
    return startClockWriter(node, { name: `w-${kind}-${name}`, volume, ...rest });
  };
  const plain = await writer('plain', {});
  const stop = { 'on-lost': 'stop' };
  const scene: Scene = {
    node,
    plain,
    before: await plain.incarnation(),
    listed: '',
    heldWhenFenced: [],
    asked: await writer('asked', {}, `trap 'echo asked; exit 0' TERM`),
    deaf: await writer('deaf', stop, `trap '' TERM`),
    kept: await writer('kept', {}),
    shared: await writer('shared', { access: 'shared' }),
    users: await writer('users', {}),
    image: await writer('image', { driver: 'image', ...fs }),
  };
  await node.dockerOk('pause', scene.users.name);
  return scene;
}

/** Changes on-lost of mounted volumes on the other host; the sentinel of this one has to follow. */
async function changeFromElsewhere(
  { nodes }: Cluster,
  { node, asked, kept }: Scene,
): Promise<void> {
  const other = nodes.find(({ name }) => name !== node.name);
  await other?.daemon.berthOk('volume', 'set', asked.volume, 'on-lost=stop');
  await other?.daemon.berthOk('volume', 'set', kept.volume, 'on-lost=keep');
  const rule = async ({ volume }: ClockWriter) =>
    (await node.table()).find((row) => row.volume === volume)?.onLost;
  const isFollowed = async () => (await rule(asked)) === 'stop' && (await rule(kept)) === 'keep';
  await waitFor(isFollowed, 5_000, `${node.name} to follow the records`);
  const isLeft = async () => (await sentinelReport(node)).volumes[kept.volume] === undefined;
  await waitFor(isLeft, 5_000, 'the sentinel to leave the volume alone');
}

/** Reconnects as soon as all is fenced; the engines, which may be slow, are asked later. */
async function cutOffForAMoment({ store }: Cluster, scene: Scene): Promise<void> {
  const { node, plain, image, asked, deaf } = scene;
  await node.host.disconnect();
  const guarded = [plain, image, asked, deaf].map(({ volume }) => volume);
  const isDone = async () => {
    const { volumes } = await sentinelReport(node);
    return guarded.every((volume) => volumes[volume] !== 'running') && isStill(node, image.volume);
  };
  await waitFor(isDone, ttlMs, 'the sentinel to fence');
  scene.heldWhenFenced = await store.locks();
  scene.listed = await node.dockerOk('ps', '--all', '--format', '{{.Names}} {{.Status}}');
  await node.host.reconnect();
}

/** Returns a volume's events, but for the lock: a busy machine reconnects the host only after the TTL. */
async function eventsWhileFenced(node: EngineNode, volume: string): Promise<string[]> {
  return (await eventsOf(node, volume)).filter((event) => !event.startsWith('relocked:'));
}

async function kindsWhileFenced(node: EngineNode, volume: string): Promise<string[]> {
  return (await eventKindsOf(node, volume)).filter((kind) => kind !== 'relocked');
}
