// What the sentinel does with a container that is killed, by itself or by somebody else. The kernel and
// the engine are played.
import { expect, test } from '@jest/globals';
import { Perform } from '../../../sentinel/perform.ts';
import { plan } from '../../../sentinel/plan.ts';
import type { EngineCalls, FileSystems, StateFile, Stops } from '../../../sentinel/ports.ts';
import { SentinelState } from '../../../sentinel/state.ts';
import { UserControl } from '../../../sentinel/user-control.ts';
import { watchSchema } from '../../../sentinel/watch.ts';
import { eventually } from '../../support/eventually.ts';
import { container, stopped, userView, view, volumeView, watched } from './views.ts';

const clock = {
  now: () => performance.now(),
  date: () => new Date(1_000),
  timeOfDayMs: () => 1_000,
  sleep: async () => {},
};
const noFile: StateFile = { read: () => [], append: () => true, replace: () => true };
const unused = new Proxy({}, { get: () => () => Promise.reject(new Error('not asked for')) });
const db = container('c', 'db');

/** A container that runs although it was stopped or killed, and what is done with it. */
function playedPerform() {
  const calls: string[] = [];
  const kernel = { isBeingKilled: false, isDying: false };
  const does = (call: string) => async () => void calls.push(call);
  const stops: Stops = {
    standing: async () => ({ is: 'running' }),
    freeze: async () => {
      calls.push('freeze');
      return 'frozen';
    },
    hold: async () => {
      calls.push('hold');
      return 'held';
    },
    release: does('release'),
    forget: async () => true,
    kill: does('kill'),
    isBeingKilled: async () => kernel.isBeingKilled,
    isDying: async () => kernel.isDying,
  };
  const state = new SentinelState(noFile, 'boot', clock);
  const none = { bootId: 'boot', leadMs: 1, graceMs: 1, noted: 0, protocol: 2 };
  state.update(watchSchema.parse({ ...none, volumes: [watched('db')] }));
  const perform = new Perform({
    state,
    control: new UserControl(stops, unused as EngineCalls, clock),
    fileSystems: unused as FileSystems,
    clock,
    mayRun: () => true,
    changed: () => {},
  });
  /** Returns what was done since the last call, when the last of it is as expected. */
  const done = async (last: string) => {
    await eventually(async () => expect(calls.at(-1)).toBe(last));
    return calls.splice(0);
  };
  return { perform, state, kernel, calls, done };
}

test('a container that was killed from outside is not frozen again before it has ended', async () => {
  const { perform, state, kernel, calls, done } = playedPerform();
  Object.assign(kernel, { isBeingKilled: true, isDying: true });
  state.setStopped(stopped(db, 'paused'));
  await perform.all([{ do: 'show', stopped: stopped(db, 'paused') }]);
  expect(await done('kill')).toEqual(['kill']);
  await perform.all([{ do: 'stop', user: db, wasPaused: false }]);
  await perform.all([{ do: 'hold', user: db, wasPaused: false }]);
  expect(calls).toEqual([]);
  // Another process has come in, or the engine has started the container again.
  kernel.isDying = false;
  await perform.all([{ do: 'stop', user: db, wasPaused: false }]);
  expect(calls).toEqual(['freeze', 'hold']);
});

test('an ended container is forgotten, unless its engine may still pause it', async () => {
  const { perform, state } = playedPerform();
  state.setStopped(stopped(db, 'paused'));
  await perform.all([{ do: 'forget', user: db }]);
  expect(state.stopped.size).toBe(0);
  state.setStopped(stopped(db, 'asked'));
  await perform.all([{ do: 'forget', user: db }]);
  const kept = state.stopped.get(db.key);
  expect(kept).toMatchObject({ shown: 'asked', releasedAtMs: expect.any(Number) });
  const users = [userView(db, 'ended', { stopped: kept })];
  expect(plan(view({ volumes: [volumeView('db', { wish: 'run' })], users }))).toContainEqual({
    do: 'release',
    stopped: kept,
  });
});

test('who must be killed is frozen and held first, also who has survived a kill and was released', async () => {
  const { perform, state, calls, done } = playedPerform();
  const kill = { do: 'kill', user: db, wasPaused: false } as const;
  await perform.all([kill]);
  expect(await done('kill')).toEqual(['freeze', 'hold', 'kill']);
  // With version 1 of control groups it ends only while it is not frozen.
  await perform.all([kill]);
  expect(calls).not.toContain('freeze');
  expect(calls).not.toContain('hold');
  await perform.all([{ do: 'release', stopped: state.stopped.get(db.key) ?? stopped(db) }]);
  await done('release');
  await perform.all([kill]);
  expect(calls.filter((call) => call !== 'release').slice(0, 2)).toEqual(['freeze', 'hold']);
});
