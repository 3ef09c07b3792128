// Workers whose wall clocks are wrong: real processes on a real etcd, real time.
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { describeWith } from '../support/requirements.ts';
import { ChaosBench } from './chaos-bench.ts';

const ttlMs = 5_000;
const hourMs = 3_600_000;

describeWith(['etcd'], 'workers whose wall clocks are wrong', () => {
  test('S59 exclude each other, in order, and expire in time, an hour ahead and behind', async () => {
    await using bench = await ChaosBench.open({ members: 1, ttlMs });
    const [right, ahead, behind, jumping] = await Promise.all([
      bench.worker('right'),
      bench.worker('ahead', hourMs),
      bench.worker('behind', -hourMs),
      bench.worker('jumping'),
    ]);
    const workers = [right, ahead, behind, jumping];
    const held = await Promise.all(workers.map((worker) => worker.hold(`held by ${worker.name}`)));
    await Promise.all(workers.map((worker, index) => worker.work(['db'], index)));
    for (const offsetMs of [hourMs, -hourMs, 0, -hourMs, hourMs]) {
      await jumping.shiftClock(offsetMs);
      await pause(ttlMs / 4);
    }
    for (const worker of workers) await bench.progressOf(worker, 'db', ttlMs);
    await Promise.all(workers.map((worker) => worker.go()));
    // More than a TTL has passed: no worker lost its lock early.
    for (const { added } of held) expect(await added).toMatchObject({ outcome: 'written' });
    const freeAfter = [ahead, behind, jumping].map(async (wrong) => {
      const set = `taken from ${wrong.name}`;
      await wrong.hold(set);
      const killedAt = performance.now();
      await wrong.kill();
      // It would not be free within the limit of a test if the wrong clock counted.
      expect(await right.add(set)).toMatchObject({ outcome: 'written' });
      return performance.now() - killedAt;
    });
    for (const afterMs of await Promise.all(freeAfter)) {
      expect(afterMs).toBeGreaterThan(ttlMs / 4);
    }
    const { events } = await bench.evidence();
    const skews = ['ahead', 'behind'].map((name) => {
      const event = events.find(({ process }) => process === name);
      return Math.round((Date.parse(event?.wall ?? '') - Date.now()) / hourMs);
    });
    expect(skews).toEqual([1, -1]);
    expect(events.filter(({ op }) => op === 'lost' || op === 'unknown')).toEqual([]);
    expect(await bench.violations()).toEqual([]);
  });
});
