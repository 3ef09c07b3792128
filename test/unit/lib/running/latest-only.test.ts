// Calls that share a run, with tasks that end when the test says so.

import { expect, test } from '@jest/globals';
import { LatestOnly } from '../../../../lib/running/latest-only.ts';

/** A task that ends when the test says so, and counts its runs. */
function heldTask() {
  const runs: PromiseWithResolvers<number>[] = [];
  let active = 0;
  let mostActive = 0;
  const task = async () => {
    const run = Promise.withResolvers<number>();
    runs.push(run);
    active += 1;
    mostActive = Math.max(mostActive, active);
    try {
      return await run.promise;
    } finally {
      active -= 1;
    }
  };
  return { task, runs, mostActive: () => mostActive };
}

test('calls during a run share one more run', async () => {
  const { task, runs } = heldTask();
  const latest = new LatestOnly(task);
  const first = latest.run();
  const others = [latest.run(), latest.run(), latest.run()];
  expect(runs).toHaveLength(1);
  runs[0]?.resolve(1);
  await expect(first).resolves.toBe(1);
  await Promise.resolve();
  expect(runs).toHaveLength(2);
  runs[1]?.resolve(2);
  await expect(Promise.all(others)).resolves.toEqual([2, 2, 2]);
  expect(runs).toHaveLength(2);
});

test('never has two runs at a time, also when called at the moment a run ends', async () => {
  const { task, runs, mostActive } = heldTask();
  const latest = new LatestOnly(task);
  const calls: Promise<number>[] = [];
  const first = latest.run();
  // Each of these calls again in the microtasks around the end of the first run.
  for (let depth = 0; depth < 8; depth += 1) {
    let turn: Promise<unknown> = first;
    for (let step = 0; step < depth; step += 1) turn = turn.then(() => {});
    void turn.then(() => calls.push(latest.run()));
  }
  void latest.run();
  runs[0]?.resolve(0);
  for (let round = 1; round < 12; round += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    runs[round]?.resolve(round);
  }
  expect(calls).toHaveLength(8);
  await Promise.all(calls);
  expect(mostActive()).toBe(1);
});

test('a run that fails rejects its own callers, and the next run goes on', async () => {
  const { task, runs } = heldTask();
  const latest = new LatestOnly(task);
  const first = latest.run();
  const second = latest.run();
  runs[0]?.reject(new Error('no'));
  await expect(first).rejects.toThrow('no');
  await Promise.resolve();
  runs[1]?.resolve(2);
  await expect(second).resolves.toBe(2);
});

test('idle waits for the runs in progress and waiting, and ignores their errors', async () => {
  const { task, runs } = heldTask();
  const latest = new LatestOnly(task);
  await latest.idle();
  latest.run().catch(() => {});
  latest.run().catch(() => {});
  let isIdle = false;
  const idle = latest.idle().then(() => {
    isIdle = true;
  });
  runs[0]?.reject(new Error('no'));
  await new Promise((resolve) => setImmediate(resolve));
  expect(isIdle).toBe(false);
  runs[1]?.reject(new Error('no'));
  await idle;
  expect(runs).toHaveLength(2);
});

test('a task that asks for a run in its first step does not run twice at once', async () => {
  const { task, runs, mostActive } = heldTask();
  let isFirst = true;
  const latest: LatestOnly<number> = new LatestOnly(() => {
    if (isFirst) {
      isFirst = false;
      void latest.run();
    }
    return task();
  });
  const first = latest.run();
  expect(runs).toHaveLength(1);
  runs[0]?.resolve(1);
  await expect(first).resolves.toBe(1);
  await new Promise((resolve) => setImmediate(resolve));
  runs[1]?.resolve(2);
  await latest.idle();
  expect(mostActive()).toBe(1);
});
