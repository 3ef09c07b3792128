// Workers on an etcd whose members are killed, frozen or restarted: real processes and servers,
// real time.
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { describeWith } from '../support/requirements.ts';
import { ChaosBench } from './chaos-bench.ts';
import type { WorkerProcess } from './worker-process.ts';

const ttlMs = 6_000;
/** The time for an election, calls without an answer (2 s each), and a busy machine. */
const recoveryMs = 10_000;

/** Starts three workers that add to one set, and one more that holds a lock. */
async function busyBench(members: 1 | 3) {
  const bench = await ChaosBench.open({ members, ttlMs });
  const [holder, ...workers] = await bench.workers('holder', 'n1', 'n2', 'n3');
  const held = await holder.hold('held');
  await Promise.all(workers.map((worker, index) => worker.work(['db'], index)));
  const progress = () => progressOf(bench, workers);
  await progress();
  return { bench, holder, held, progress };
}

/** Resolves when each worker has written. */
async function progressOf(bench: ChaosBench, workers: readonly WorkerProcess[]): Promise<void> {
  await Promise.all(workers.map((worker) => bench.progressOf(worker, 'db', recoveryMs)));
}

describeWith(['etcd'], 'workers on an etcd that fails', () => {
  const failures = {
    'a follower is killed': (bench: ChaosBench, leader: number) =>
      bench.etcd.kill((leader + 1) % 3),
    'the leader is killed': (bench: ChaosBench, leader: number) => bench.etcd.kill(leader),
    'the leader is frozen': (bench: ChaosBench, leader: number) => bench.etcd.pause(leader),
  };

  test.each(Object.entries(failures))('go on when %s', async (_, fail) => {
    const { bench, holder, held, progress } = await busyBench(3);
    await using _bench = bench;
    const leader = await bench.leader();
    await fail(bench, leader);
    await progress();
    // A worker whose renewals failed for too long has lost its lock; its answer must say so.
    await holder.go();
    await held.added;
    bench.etcd.resume(leader);
    for (const member of [0, 1, 2]) await bench.etcd.restart(member);
    await progress();
    expect(await bench.violations()).toEqual([]);
  });

  test.each([1, 3] as const)(
    'keep their locks when all of %d etcd members restart within the TTL',
    async (members) => {
      const { bench, holder, held, progress } = await busyBench(members);
      await using _bench = bench;
      await pause(ttlMs / 3);
      const all = bench.etcd.endpoints.map((_, index) => index);
      await Promise.all(all.map((member) => bench.etcd.kill(member)));
      await Promise.all(all.map((member) => bench.etcd.restart(member)));
      await progress();
      await holder.go();
      expect(await held.added).toMatchObject({ outcome: 'written' });
      expect(await bench.violations()).toEqual([]);
    },
  );
});
