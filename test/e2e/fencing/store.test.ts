// The only etcd is stopped or frozen for longer than the TTL, under containers with directories and
// images. Engines and etcd are real; so is the TTL of 5 s.

import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { eventually } from '../../support/eventually.ts';
import { describeWith } from '../../support/requirements.ts';
import type { Cluster, EngineNode } from '../hosts/cluster.ts';
import { startCluster } from '../hosts/cluster.ts';
import type { ClockWriter } from './clock-writer.ts';
import { longestGapMs, startClockWriter } from './clock-writer.ts';
import { eventsOf } from './events.ts';

const ttlMs = 5_000;

describeWith(['docker', 'etcd', 'loop'], 'containers while their store does not answer', () => {
  let cluster: Cluster;
  let writers: { readonly node: EngineNode; readonly writer: ClockWriter }[];
  beforeAll(async () => {
    cluster = await startCluster({ engines: ['26.1', '20.10'], berth: { ttl: `${ttlMs}ms` } });
    const starting = cluster.nodes.flatMap((node) =>
      ['directory', 'image'].map(async (driver) => {
        const volume = `${driver}-${node.name}`;
        await node.create(volume, { driver, ...(driver === 'image' ? { size: '64M' } : {}) });
        const writer = await startClockWriter(node, { name: `w-${volume}`, volume });
        return { node, writer };
      }),
    );
    writers = await Promise.all(starting);
  });
  afterAll(async () => cluster?.[Symbol.asyncDispose]());

  test.each([
    ['is stopped and restarted', 3 * ttlMs, 'SIGTERM'],
    ['hangs', 2 * ttlMs, 'SIGSTOP'],
  ] as const)(
    'scenario 31, when a host loses the store: an etcd that %s pauses containers and resumes them later',
    async (_, awayMs, signal) => {
      const before = await Promise.all(writers.map(({ writer }) => writer.incarnation()));
      const told = await Promise.all(
        writers.map(({ node, writer }) => eventsOf(node, writer.volume)),
      );
      const [pid = Number.NaN] = cluster.etcd.pids;
      process.kill(pid, signal);
      await sleep(awayMs);
      for (const { writer } of writers) expect(await writer.state()).toBe('paused');
      if (signal === 'SIGTERM') await cluster.etcd.restart();
      else cluster.etcd.resume();
      await Promise.all(writers.map(({ writer }) => writer.waitUntilItWrites(5_000)));
      for (const [index, { node, writer }] of writers.entries()) {
        expect(await writer.incarnation()).toBe(before[index]);
        expect(longestGapMs(await writer.times())).toBeGreaterThan(awayMs - ttlMs);
        await eventually(async () => {
          const news = (await eventsOf(node, writer.volume)).slice(told[index]?.length);
          expect(news[0]).toMatch(/^paused: .* \d+ ms (before|AFTER) the deadline/);
          expect(news).toContainEqual(expect.stringMatching(/^resumed: /));
          // On a busy machine a file system may freeze some milliseconds late, which is said.
          const isUsual = /^(paused|resumed|relocked): |was frozen \d+ ms AFTER the deadline$/;
          expect(news.filter((event) => !isUsual.test(event))).toEqual([]);
        });
      }
    },
  );
});
