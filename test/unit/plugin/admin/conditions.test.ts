// The conditions that `berth status` reports about the locks' store.

import { expect, test } from '@jest/globals';
import { conditionsOf } from '../../../../plugin/admin/conditions.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

const warning = { severity: 'warning', message: 'nearly full' } as const;

test("conditions are the store's own findings, word for word", async () => {
  const clock = new ManualClock();
  expect(await conditionsOf({ health: async () => [warning] }, clock)).toEqual([warning]);
  expect(clock.sleeping).toBe(0);
});

test('a store that does not answer the health check in time is a condition', async () => {
  const health = () => new Promise<never>(() => {});
  const clock = new ManualClock();
  const conditions = conditionsOf({ health }, clock);
  await clock.pass(5_000);
  expect(await conditions).toEqual([
    { severity: 'error', message: 'the store did not answer the health check within 5 s' },
  ]);
});
