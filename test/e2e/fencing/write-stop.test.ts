import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { describeWith } from '../../support/requirements.ts';
import type { Cluster } from '../hosts/cluster.ts';
import { startCluster } from '../hosts/cluster.ts';
import { watchTickets } from './ticket-watch.ts';
import type { WriteStop } from './write-stop.ts';
import { faults, writeStop } from './write-stop.ts';

jest.setTimeout(60_000);

type FaultName = keyof typeof faults;

/** One after the other on each host, and both hosts at once. */
const plan: readonly FaultName[][] = [
  ['the host is cut off', 'its daemon is stopped', 'its engine is killed and it is cut off'],
  ['its daemon is killed', 'its daemon and its engine are stopped'],
];

describeWith(
  ['docker', 'etcd'],
  'writing stops at least 1 s before another can be given it',
  () => {
    let cluster: Cluster;
    const outcomes = new Map<FaultName, PromiseSettledResult<WriteStop>>();
    beforeAll(async () => {
      cluster = await startCluster({ engines: ['26.1', '20.10'], berth: { ttl: '5s' } });
      await using tickets = await watchTickets(cluster);
      const running = cluster.nodes.map(async (node, index) => {
        for (const [number, name] of plan[index]?.entries() ?? []) {
          const run = writeStop(cluster, tickets, node, `v${number}-${node.name}`, faults[name]);
          const [outcome] = await Promise.allSettled([run]);
          if (outcome) outcomes.set(name, outcome);
        }
      });
      await Promise.all(running);
    }, 120_000);
    afterAll(async () => cluster?.[Symbol.asyncDispose](), 60_000);

    test.each(plan.flat())('defects A1 and A3, when the plugin is gone: %s', async (name) => {
      const outcome = outcomes.get(name);
      if (outcome?.status !== 'fulfilled') throw outcome?.reason ?? new Error('it was not run');
      const { marginMs, lateWrites } = outcome.value;
      process.stderr.write(`${name}: ${marginMs} ms\n`);
      expect(marginMs).toBeGreaterThanOrEqual(1_000);
      expect(lateWrites).toBe(0);
    });
  },
);
