// What a daemon says of a machine, or a state directory, that was copied.
import { beforeEach, expect, test } from '@jest/globals';
import { StoreUnavailableError } from '../../../../lib/lock/errors.ts';
import type { VolumeEvent } from '../../../../lib/volumes/events.ts';
import { MachineCopy } from '../../../../plugin/host/machine-copy.ts';
import type { StateOwner } from '../../../../plugin/host/state-owner.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

const ttlMs = 10_000;
let clock: ManualClock;
let events: VolumeEvent[];
let asked: string[];
let isForgotten: boolean;
beforeEach(() => {
  clock = new ManualClock();
  events = [];
  asked = [];
  isForgotten = false;
});

function machine(
  stateOwner: StateOwner,
  earlierSession: string | undefined,
  sessionAlive: () => Promise<boolean>,
) {
  const store = {
    sessionAlive: async (id: string) => {
      asked.push(id);
      return sessionAlive();
    },
  };
  const signal = new AbortController().signal;
  const sink = { record: (event: VolumeEvent) => void events.push(event) };
  return new MachineCopy({
    ...{ store, stateOwner, earlierSession, ttlMs, events: sink, clock, signal },
    forget: async () => {
      isForgotten = true;
    },
  });
}

test('a machine that was booted again is no copy when nobody renews its session', async () => {
  const copy = machine({ is: 'rebooted' }, 'lease', async () => false);
  void copy.run();
  await clock.pass(3 * ttlMs);
  expect([asked, events, copy.conditions()]).toEqual([['lease'], [], []]);
  expect(isForgotten).toBe(true);
});

test('a machine is a copy when another renews the session, also if the store is away at first', async () => {
  let isAway = true;
  const copy = machine({ is: 'rebooted' }, 'lease', async () => {
    if (isAway) throw new StoreUnavailableError('no answer');
    return true;
  });
  void copy.run();
  await clock.pass(ttlMs);
  expect(asked).toEqual([]);
  await clock.pass(ttlMs);
  expect(copy.conditions()).toEqual([]);
  isAway = false;
  await clock.pass(2_000);
  expect(isForgotten).toBe(false);
  const message = expect.stringContaining('this machine is a copy of one that runs');
  expect(copy.conditions()).toEqual([{ severity: 'warning', message }]);
  expect(events).toEqual([{ severity: 'warning', kind: 'copied', volume: '', message }]);
});

test('a copied state directory is reported with the place of what was set aside', () => {
  const owner = { is: 'copied', from: 'n1 (machine ID m1)', aside: '/state/of-m1' } as const;
  const copy = machine(owner, undefined, async () => false);
  const message = expect.stringMatching(
    /copied from .* n1 \(machine ID m1\).*kept in \/state\/of-m1/,
  );
  expect(copy.conditions()).toEqual([{ severity: 'warning', message }]);
  expect(events).toMatchObject([{ kind: 'copied', message }]);
});
