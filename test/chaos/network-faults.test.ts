// Workers whose network to etcd is cut, silent or slow: real processes, a real etcd behind a proxy,
// real time.
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { describeWith } from '../support/requirements.ts';
import { ChaosBench, cut, suffer } from './chaos-bench.ts';
import type { WorkerProcess } from './worker-process.ts';

const ttlMs = 5_000;
/** A lock is free again after a TTL; a busy machine may stop each process for seconds. */
const freeAgainMs = 60_000;
/** The time in which a ping finds a dead connection (six seconds), and more. */
const recoveryMs = 12_000;

/** Starts a victim that holds a lock and works, another worker, and one that wants the lock. */
async function benchWithVictim(members: 1 | 3) {
  const bench = await ChaosBench.open({ members, ttlMs });
  const [victim, other, next] = await bench.workers('victim', 'other', 'next');
  const held = await victim.hold('held');
  await Promise.all([victim.work(['db'], 1), other.work(['db'], 2)]);
  await bench.progressOf(victim, 'db', recoveryMs);
  return { bench, victim, other, next, held };
}

describeWith(['etcd'], 'a worker with a bad network', () => {
  const outages = {
    'its connections are cut': cut,
    'its packets vanish': (victim: WorkerProcess) => suffer(victim, 'swallow'),
    'its packets arrive after the outage': (victim: WorkerProcess) => suffer(victim, 'hold'),
  };

  test.each(Object.entries(outages))('loses its locks and recovers when %s', async (_, fail) => {
    const { bench, victim, other, next, held } = await benchWithVictim(1);
    await using _bench = bench;
    const failedAt = performance.now();
    await fail(victim);
    expect(await next.add('held')).toMatchObject({ outcome: 'written' });
    expect(performance.now() - failedAt).toBeLessThan(freeAgainMs);
    await bench.progressOf(other, 'db', freeAgainMs);
    await victim.go();
    expect(await held.added).toMatchObject({ outcome: 'refused', lost: 'lost', aborted: true });
    await suffer(victim, 'none');
    await bench.progressOf(victim, 'db', recoveryMs);
    expect(await bench.violations()).toEqual([]);
  });

  test('keeps its locks when its connections are reset repeatedly', async () => {
    const { bench, victim, held } = await benchWithVictim(1);
    await using _bench = bench;
    for (let time = 0; time < 10; time += 1) {
      for (const proxy of victim.network) proxy.reset();
      await pause(ttlMs / 8);
    }
    await victim.go();
    expect(await held.added).toMatchObject({ outcome: 'written' });
    await bench.progressOf(victim, 'db', recoveryMs);
    expect(await bench.violations()).toEqual([]);
  });

  test('keeps its locks when its network is slow', async () => {
    const { bench, victim, other, held } = await benchWithVictim(1);
    await using _bench = bench;
    await suffer(victim, { delayMs: 150 });
    await pause(ttlMs);
    for (const worker of [victim, other]) await bench.progressOf(worker, 'db', recoveryMs);
    await victim.go();
    expect(await held.added).toMatchObject({ outcome: 'written' });
    await suffer(victim, 'none');
    expect(await bench.violations()).toEqual([]);
  });

  test('changes to another member of etcd when its own does not answer', async () => {
    const { bench, victim, held } = await benchWithVictim(3);
    await using _bench = bench;
    for (const proxy of victim.network) {
      await proxy.suffer('swallow');
      await bench.progressOf(victim, 'db', recoveryMs);
      await proxy.suffer('none');
    }
    await victim.go();
    await held.added;
    expect(await victim.add('held')).toMatchObject({ outcome: 'written' });
    expect(await bench.violations()).toEqual([]);
  });
});
