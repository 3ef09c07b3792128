// The states of a mounted volume: which may follow which, and what each means for the ownership.
import { describe, expect, test } from '@jest/globals';
import { ticketSchema } from '../../../../../lib/lock/ticket-schema.ts';
import { InUseError, UnavailableError } from '../../../../../lib/volumes/errors.ts';
import type { MountLock, MountState } from '../../../../../lib/volumes/mounts/mount-state.ts';
import { MountStates, transitions } from '../../../../../lib/volumes/mounts/mount-state.ts';
import type { MountRow } from '../../../../../lib/volumes/mounts/mount-table.ts';

const ticket = ticketSchema.parse({
  id: 'id',
  token: 7,
  nonce: 'nonce',
  session: 'session',
  locks: [{ name: 'mount/v', mode: 'exclusive' }],
  holder: { host: 'h', reason: 'Mount', since: '2026-01-02T03:04:05Z' },
});

function lockThatIs(state: MountLock['state']): MountLock {
  return {
    state,
    token: 7,
    ticket,
    confirm: async () => {},
    guard: async () => {},
    unlock: async () => {},
  };
}

const held = lockThatIs('held');

type States = Readonly<Record<MountState['is'], MountState>>;

function statesUnder(lock: MountLock): States {
  return {
    mounting: { is: 'mounting', lock },
    mounted: { is: 'mounted', lock },
    evicted: { is: 'evicted', lock },
    unlocked: { is: 'unlocked' },
    disabled: { is: 'disabled' },
    lost: { is: 'lost' },
    interrupted: { is: 'interrupted', lock },
    found: { is: 'found', found: { volume: 'v', mountpoint: '/mnt/v', isMounted: true }, lock },
  };
}

const states = statesUnder(held);
const names = ['none', ...Object.keys(states)] as (keyof typeof transitions)[];

/** A shortest way into each state. */
const ways: Readonly<Record<keyof typeof transitions, readonly MountState['is'][]>> = {
  none: [],
  mounting: ['mounting'],
  mounted: ['mounting', 'mounted'],
  evicted: ['mounting', 'mounted', 'evicted'],
  unlocked: ['unlocked'],
  disabled: ['unlocked', 'disabled'],
  lost: ['unlocked', 'lost'],
  interrupted: ['interrupted'],
  found: ['found'],
};

function volumeIn(state: keyof typeof transitions, lock = held): MountStates {
  const all = new MountStates([], 'boot');
  const steps = statesUnder(lock);
  for (const step of ways[state]) all.enter('v', steps[step]);
  return all;
}

/** Each line names a state and all that may follow it. */
const allowed = `
  none → mounting unlocked interrupted found
  mounting → none mounted interrupted
  mounted → none evicted unlocked
  evicted → none unlocked
  unlocked → none mounted disabled lost
  disabled → none mounted disabled lost
  lost → none
  interrupted → none mounted evicted unlocked interrupted
  found → none mounted found
`;

test('the table of transitions matches the documented one', () => {
  const lines = names.map((name) => {
    const next = names.filter((other) => transitions[name].includes(other));
    return `  ${name} → ${next.join(' ')}\n`;
  });
  expect(`\n${lines.join('')}`).toBe(allowed);
});

describe.each(names)('from %s', (before) => {
  test.each(names)('to %s: as the table says', (next) => {
    const all = volumeIn(before);
    const change = () => (next === 'none' ? all.leave('v') : all.enter('v', states[next]));
    if (transitions[before].includes(next)) {
      change();
      expect(all.get('v')?.is ?? 'none').toBe(next);
    } else {
      expect(change).toThrow(`the mount of volume v can't go from ${before} to ${next}`);
      expect(all.get('v')?.is ?? 'none').toBe(before);
    }
  });
});

test.each<[MountState['is'], MountLock['state'], ownership: string, lockState: string]>([
  ['mounting', 'held', 'held', 'held'],
  ['mounting', 'unproven', 'unproven', 'unproven'],
  ['mounted', 'held', 'held', 'held'],
  ['mounted', 'unproven', 'unproven', 'unproven'],
  // The lock may still be re-acquired, so nothing is ended yet.
  ['mounted', 'lost', 'unproven', 'unproven'],
  ['evicted', 'held', 'evicted', 'lost'],
  ['evicted', 'unproven', 'evicted', 'lost'],
  ['interrupted', 'held', 'held', 'held'],
  ['interrupted', 'unproven', 'unproven', 'unproven'],
  ['found', 'held', 'held', 'held'],
])('%s under a lock that is %s: %s', (is, lockState, ownership, shown) => {
  const all = volumeIn(is, lockThatIs(lockState));
  expect(all.ownership('v')).toBe(ownership);
  expect(all.lockState('v')).toBe(shown);
});

test.each<[MountState['is'], ownership: string]>([
  ['unlocked', 'unproven'],
  ['disabled', 'unproven'],
  ['lost', 'lost'],
])('%s, without a lock: %s', (is, ownership) => {
  expect(volumeIn(is).ownership('v')).toBe(ownership);
  expect(volumeIn(is).lock('v')).toBeUndefined();
});

test('only a held volume counts as proved', () => {
  volumeIn('mounted').requireHeld('v');
  expect(() => volumeIn('unlocked').requireHeld('v')).toThrow(UnavailableError);
  expect(() => volumeIn('disabled').requireHeld('v')).toThrow(UnavailableError);
  expect(() => volumeIn('lost').requireHeld('v')).toThrow(InUseError);
  expect(() => volumeIn('evicted').requireHeld('v')).toThrow(InUseError);
});

test('leaving a state hands its lock to the caller', () => {
  expect(volumeIn('mounted').leave('v')).toBe(held);
  expect(volumeIn('lost').leave('v')).toBeUndefined();
});

test('at the start, half-made mounts and those of an earlier boot are interrupted', () => {
  const row = (volume: string, change: Partial<MountRow>): MountRow => ({
    volume,
    driver: 'directory',
    options: {},
    access: 'host',
    failover: 'auto',
    onLost: 'pause',
    mountpoint: `/mnt/${volume}`,
    ticket,
    bootId: 'boot',
    mountIds: new Map([['id', { count: 1, confirmed: true }]]),
    ...change,
  });
  const all = new MountStates(
    [row('used', {}), row('half', { mountIds: new Map() }), row('earlier', { bootId: 'before' })],
    'boot',
  );
  expect(['used', 'half', 'earlier'].map((volume) => all.get(volume)?.is)).toEqual([
    'unlocked',
    'interrupted',
    'interrupted',
  ]);
});
