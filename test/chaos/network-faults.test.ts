import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { describeWith } from '../support/requirements.ts';
import { ChaosBench, cut, suffer } from './chaos-bench.ts';
import type { WorkerProcess } from './worker-process.ts';

const ttlMs = 5_000;
const freeAgainMs = ttlMs + 1_000 + 1_000;
/** A connection that is dead without a word is found by a ping within six seconds. */
const recoveryMs = 12_000;

/** A victim that holds a lock and works, another worker that works, and one that would like the lock. */
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
    'its packets arrive when it is over': (victim: WorkerProcess) => suffer(victim, 'hold'),
  };

  test.each(Object.entries(outages))(
    'loses its locks, and comes back, when %s',
    async (_, fail) => {
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
    },
    60_000,
  );

  test('keeps its locks when its connections are reset again and again', async () => {
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

  test('finds another member of etcd when its own falls silent', async () => {
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
