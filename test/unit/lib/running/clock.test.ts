// The machine's clock, where the time since boot counts in whole seconds: sleep is never counted too short.
import { expect, test } from '@jest/globals';
import { bootClock } from '../../../../lib/linux/boot.ts';
import { systemClock } from '../../../../lib/running/clock.ts';

/** How long the clock takes what it has found for the present state. */
const checkMs = 100;

/** A time since boot in whole seconds, on a machine that was asleep for `asleepMs`. */
function coarseBoot() {
  const boot = {
    asleepMs: 0,
    stepMs: 1000,
    nowMs: () => Math.floor((performance.now() + boot.asleepMs) / 1000) * 1000,
  };
  return boot;
}

test('a clock of whole seconds counts a sleep at least in full', async () => {
  const boot = coarseBoot();
  const clock = systemClock(boot);
  const lead = clock.now() - performance.now();
  boot.asleepMs = 30_000;
  await clock.sleep(2 * checkMs);
  const awakeMs = performance.now();
  expect(clock.now() - awakeMs - lead).toBeGreaterThanOrEqual(30_000);
});

test('a clock of whole seconds counts none while the machine is awake', async () => {
  const clock = systemClock(coarseBoot());
  for (let look = 0; look < 12; look += 1) {
    await clock.sleep(checkMs);
    expect(clock.now() - performance.now()).toBeLessThan(1);
  }
});

test('without /proc the time since boot is that of the system', () => {
  const missing = () => {
    throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
  };
  const { nowMs, stepMs } = bootClock(missing);
  expect(stepMs).toBe(1000);
  const exact = bootClock();
  expect(exact.stepMs).toBe(0);
  const before = exact.nowMs();
  const found = nowMs();
  expect(found).toBeGreaterThan(before - stepMs);
  expect(found).toBeLessThanOrEqual(exact.nowMs());
});
