// Volumes that the engine has under another driver; an engine in memory.
import { expect, test } from '@jest/globals';
import { NamesInTheWay } from '../../../../plugin/engine/names-in-the-way.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

test('bug-reports 11: a volume of another driver with the name of one of berth is named, until it is removed', async () => {
  let foreign = new Map([
    ['shad', 'local'],
    ['other', 'local'],
  ]);
  let isAway = false;
  const found = new NamesInTheWay({
    engine: {
      foreignVolumes: async () => {
        if (isAway) throw new Error('the engine does not answer');
        return foreign;
      },
    },
    names: () => ['db', 'shad'],
    ...{ intervalMs: 1_000, clock: new ManualClock(), signal: new AbortController().signal },
  });
  expect(found.conditions()).toEqual([]);
  await found.look();
  const named = {
    severity: 'warning',
    message: expect.stringMatching(
      /^the engine has a volume shad of driver local, .* remove it: docker volume rm shad$/,
    ),
  };
  expect(found.conditions()).toEqual([named]);
  isAway = true;
  await found.look();
  expect(found.conditions()).toEqual([named]);
  isAway = false;
  foreign = new Map();
  await found.look();
  expect(found.conditions()).toEqual([]);
});
