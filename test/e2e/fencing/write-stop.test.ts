// Measures from a container's last write to the moment when etcd could grant the lock to another
// host, for each fault. Engines, etcd and the TTL of 5 s are real, and so are the margins.

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { describeWith } from '../../support/requirements.ts';
import type { Cluster } from '../hosts/cluster.ts';
import { startCluster } from '../hosts/cluster.ts';
import { watchTickets } from './ticket-watch.ts';
import type { WriteStop } from './write-stop.ts';
import { faults, writeStop } from './write-stop.ts';

type FaultName = keyof typeof faults;

/** The faults of each host, one after the other; both hosts run at once. */
const plan: readonly FaultName[][] = [
  ['the host is cut off', 'the daemon is frozen', 'the engine is killed and the host is cut off'],
  ['the daemon is killed', 'the daemon and the engine are frozen'],
];

describeWith(
  ['docker', 'etcd'],
  'a container stops writing before another host can get its lock',
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
    });
    afterAll(async () => cluster?.[Symbol.asyncDispose]());

    test.each(plan.flat())(
      'defects A1 and A3, when the plugin is gone: the writes stop in time when %s',
      async (name) => {
        const outcome = outcomes.get(name);
        if (outcome?.status !== 'fulfilled') throw outcome?.reason ?? new Error('it was not run');
        const { marginMs, lateWrites } = outcome.value;
        process.stderr.write(`${name}: ${marginMs} ms\n`);
        expect(marginMs).toBeGreaterThan(0);
        expect(lateWrites).toBe(0);
      },
    );
  },
);
