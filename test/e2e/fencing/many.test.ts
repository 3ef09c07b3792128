// Two hosts, one for each version of control groups, are cut off while many containers write, each to a
// volume of its own: all have one deadline. Engines, etcd and the TTL of 10 s are real.

import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { bootNowMs } from '../../../lib/linux/boot.ts';
import { describeWith } from '../../support/requirements.ts';
import type { Cluster, EngineNode } from '../hosts/cluster.ts';
import { startCluster } from '../hosts/cluster.ts';
import type { ClockWriter } from './clock-writer.ts';
import { startClockWriter } from './clock-writer.ts';
import { eventsOf } from './events.ts';
import { logOf } from './successor.ts';
import type { TicketWatch } from './ticket-watch.ts';
import { watchTickets } from './ticket-watch.ts';

/** TEST_CONTAINERS=100 is what a host could not stop in time once; so many slow the tests beside. */
const count = Number(process.env.TEST_CONTAINERS ?? 15);
const startsAtOnce = 4;

describeWith(['docker', 'etcd'], 'a host with many containers that is cut off', () => {
  let cluster: Cluster;
  let tickets: TicketWatch;
  const writers = new Map<EngineNode, ClockWriter[]>();
  let beganMs: number;
  beforeAll(async () => {
    cluster = await startCluster({
      engines: [
        { docker: '26.1', controlGroups: 1 },
        { docker: '26.1', controlGroups: 2 },
      ],
      berth: { ttl: '10s' },
    });
    tickets = await watchTickets(cluster);
    for (const node of cluster.nodes) writers.set(node, []);
    // The first volume marks the pool: two hosts at once would each find the other's mark missing.
    await cluster.nodes[0]?.create('first');
    await Promise.all(cluster.nodes.map(startAll));
    beganMs = bootNowMs();
    await Promise.all(cluster.nodes.map(({ host }) => host.disconnect()));
  });
  afterAll(async () => {
    await tickets?.[Symbol.asyncDispose]();
    await cluster?.[Symbol.asyncDispose]();
  });

  async function startAll(node: EngineNode): Promise<void> {
    const numbers = [...Array(count).keys()];
    const start = async () => {
      for (let number = numbers.shift(); number !== undefined; number = numbers.shift()) {
        const volume = `v${number}-${node.name}`;
        await node.create(volume, { driver: 'directory' });
        const log = logOf(cluster, volume);
        const options = { name: `w-${volume}`, volume, everyMs: 250, log };
        writers.get(node)?.push(await startClockWriter(node, options));
      }
    };
    await Promise.all(Array.from({ length: startsAtOnce }, start));
  }

  test.each([
    { controlGroups: 1, index: 0 },
    { controlGroups: 2, index: 1 },
  ] as const)(
    'no container writes once another host can have its volume, and all are resumed (control groups v$controlGroups)',
    async ({ index }) => {
      const node = cluster.nodes[index];
      const own = (node && writers.get(node)) ?? [];
      expect(own).toHaveLength(count);
      const goneAtMs = new Map<string, number>();
      for (const { volume } of own) {
        goneAtMs.set(volume, await tickets.waitUntilGone(volume, beganMs, 60_000));
      }
      await delay(1_000); // Whoever was not stopped writes meanwhile.
      for (const { volume, lastWriteMs } of own) {
        expect(await lastWriteMs()).toBeLessThan(goneAtMs.get(volume) ?? 0);
      }
      await node?.host.reconnect();
      for (const writer of own) await writer.waitUntilItWrites(30_000);
      for (const { volume } of own.slice(0, 3)) {
        const events = node ? await eventsOf(node, volume) : [];
        expect(events).toContainEqual(expect.stringMatching(/^paused: paused container /));
      }
    },
  );
});
