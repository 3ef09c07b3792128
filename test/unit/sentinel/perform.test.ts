// What the sentinel does with a container that somebody else kills while it stands still. The kernel and
// the engine are played.
import { expect, test } from '@jest/globals';
import { Perform } from '../../../sentinel/perform.ts';
import type { EngineCalls, FileSystems, StateFile, Stops } from '../../../sentinel/ports.ts';
import { SentinelState } from '../../../sentinel/state.ts';
import { UserControl } from '../../../sentinel/user-control.ts';
import { watchSchema } from '../../../sentinel/watch.ts';
import { eventually } from '../../support/eventually.ts';
import { container, stopped, watched } from './views.ts';

const clock = {
  now: () => performance.now(),
  date: () => new Date(1_000),
  timeOfDayMs: () => 1_000,
  sleep: async () => {},
};
const noFile: StateFile = { read: () => [], append: () => true, replace: () => true };
const unused = new Proxy({}, { get: () => () => Promise.reject(new Error('not asked for')) });
const db = container('c', 'db');

test('a container that was killed from outside is not frozen again before it has ended', async () => {
  const calls: string[] = [];
  let isDying = true;
  const does = (call: string) => async () => void calls.push(call);
  const stops: Stops = {
    standing: async () => ({ is: 'running' }),
    freeze: does('freeze'),
    hold: does('hold'),
    release: does('release'),
    forget: does('forget'),
    kill: does('kill'),
    isBeingKilled: async () => true,
    isDying: async () => isDying,
  };
  const state = new SentinelState(noFile, 'boot', clock);
  const none = { bootId: 'boot', leadMs: 1, graceMs: 1, noted: 0, protocol: 2 };
  state.update(watchSchema.parse({ ...none, volumes: [watched('db')] }));
  state.setStopped(stopped(db, 'paused'));
  const perform = new Perform({
    state,
    control: new UserControl(stops, unused as EngineCalls, clock),
    fileSystems: unused as FileSystems,
    clock,
    mayRun: () => false,
    changed: () => {},
  });
  await perform.all([{ do: 'show', stopped: stopped(db, 'paused') }]);
  await eventually(async () => expect(calls).toEqual(['kill']));
  await perform.all([{ do: 'stop', user: db, wasPaused: false }]);
  await perform.all([{ do: 'hold', user: db, wasPaused: false }]);
  expect(calls).toEqual(['kill']);
  // Another process has come in, or the engine has started the container again.
  isDying = false;
  await perform.all([{ do: 'stop', user: db, wasPaused: false }]);
  expect(calls).toEqual(['kill', 'freeze', 'hold']);
});
