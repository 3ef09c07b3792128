// The loop with a pause, on short real times.

import { expect, test } from '@jest/globals';
import { every } from '../../../../lib/running/every.ts';
import { never } from '../../../../lib/running/never.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

test('repeats with a pause, counted from the end of the step before', async () => {
  const clock = new ManualClock();
  const stop = new AbortController();
  const at: number[] = [];
  const loop = (async () => {
    for await (const _ of every(1_000, clock, stop.signal)) {
      at.push(clock.now());
      await clock.sleep(300);
    }
  })();
  await clock.pass(3_000);
  expect(at).toEqual([0, 1_300, 2_600]);
  stop.abort();
  await clock.pass(300);
  await loop;
  expect(clock.sleeping).toBe(0);
});

test('ends in its pause as soon as the signal aborts', async () => {
  const clock = new ManualClock();
  const stop = new AbortController();
  let steps = 0;
  const loop = (async () => {
    for await (const _ of every(1_000, clock, stop.signal)) steps += 1;
  })();
  await clock.pass(0);
  stop.abort();
  await loop;
  expect(steps).toBe(1);
  expect(clock.now()).toBe(0);
});

test('makes no step when the signal has aborted before', async () => {
  const steps: unknown[] = [];
  for await (const step of every(1_000, new ManualClock(), AbortSignal.abort())) steps.push(step);
  expect(steps).toEqual([]);
});

test('ends when the caller leaves the loop', async () => {
  const clock = new ManualClock();
  for await (const _ of every(1_000, clock, never)) break;
  expect(clock.sleeping).toBe(0);
});
