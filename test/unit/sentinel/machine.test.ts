// How long the sentinel sleeps on a machine whose clocks jump. Real timers of some milliseconds.
import { expect, test } from '@jest/globals';
import { systemClock } from '../../../lib/running/clock.ts';
import { machineClock } from '../../../sentinel/machine.ts';

/** Clocks that a test can set; both count from the start. */
function clocks() {
  const jumps = { bootMs: 0, dayMs: 0 };
  const now = () => performance.now() + jumps.bootMs;
  const timeOfDayMs = () => performance.now() + jumps.bootMs + jumps.dayMs;
  return { jumps, clock: machineClock(systemClock(), { now, timeOfDayMs }) };
}

test('a sleep ends after its time, and not before', async () => {
  const { clock } = clocks();
  const beganAtMs = performance.now();
  await clock.sleep(120);
  expect(performance.now() - beganAtMs).toBeGreaterThan(115);
});

test.each([
  ['the time of day has jumped forward', { dayMs: 1_500 }],
  ['the time of day has jumped back', { dayMs: -1_500 }],
  ['the boot clock has counted a suspend', { bootMs: 3_600_000 }],
])('a sleep ends soon when %s', async (_what, jump) => {
  const { jumps, clock } = clocks();
  const sleeping = clock.sleep(3_600_000);
  Object.assign(jumps, jump);
  await sleeping;
});

test('a correction of the time of day ends no sleep', async () => {
  const { jumps, clock } = clocks();
  const beganAtMs = performance.now();
  const sleeping = clock.sleep(120);
  jumps.dayMs = 500;
  await sleeping;
  expect(performance.now() - beganAtMs).toBeGreaterThan(115);
});

test('a signal ends a sleep at once', async () => {
  const { clock } = clocks();
  const stop = new AbortController();
  const sleeping = clock.sleep(3_600_000, stop.signal);
  stop.abort();
  await sleeping;
});
