import { expect, test } from '@jest/globals';
import { conditionsOf } from '../../../../plugin/admin/conditions.ts';

const warning = { severity: 'warning', message: 'nearly full' } as const;

test('what the locks find wrong, as they say it', async () => {
  expect(await conditionsOf({ health: async () => [warning] })).toEqual([warning]);
});

test('a store that does not say how it is in time', async () => {
  const health = () => new Promise<never>(() => {});
  expect(await conditionsOf({ health }, 20)).toEqual([
    { severity: 'error', message: 'the store did not say within 0.02 s how it is' },
  ]);
});
