// Why a volume is not fenced although its deadline has passed, for people.
import { expect, test } from '@jest/globals';
import { whyIncomplete } from '../../../sentinel/incomplete.ts';
import type { User } from '../../../sentinel/ports.ts';
import { openFence } from '../../../sentinel/volume-fence.ts';
import { container, userView, view, volumeView } from './views.ts';

const process = { pid: 7, started: '1', name: 'dockerd' };
const copy: User = {
  kind: 'engine',
  key: '7/8 1',
  process: { ...process, tid: 8 },
  volumes: ['db'],
};
const now = 10_500;

test('an engine that copies in a thread is named when the volume is lost, also while the thread stands still', () => {
  const ending = volumeView('db', { wish: 'end' });
  const why = (is: 'held' | 'running' | 'ended') =>
    whyIncomplete(ending, view({ now, volumes: [ending], users: [userView(copy, is)] }), undefined);
  expect(why('held')).toEqual({
    message:
      "the engine copies to it (docker cp) in a thread that stands still and can't be ended alone, " +
      'in dockerd (pid 7): restart the engine, which may not answer before that',
    isLasting: true,
  });
  expect(why('running')?.message).toMatch(/a thread that writes on/);
  expect(why('ended')).toBeUndefined();
  const paused = volumeView('db', { fence: { ...openFence, phase: 'fenced' } });
  const users = [userView(copy, 'held')];
  expect(whyIncomplete(paused, view({ now, volumes: [paused], users }), undefined)).toBeUndefined();
});

test('a process of the host is named unless it may be stopped', () => {
  const backup: User = { ...copy, kind: 'host', process: { ...process, name: 'cp' } };
  const volume = volumeView('db');
  const users = [userView(backup, 'running'), userView(container('c', 'db'), 'held')];
  const seen = view({ now, volumes: [volume], users });
  expect(whyIncomplete(volume, seen, undefined)?.message).toMatch(/not stopped: cp \(pid 7\); end/);
  const stopped = whyIncomplete(volume, { ...seen, fenceHostProcesses: true }, undefined);
  expect(stopped).toEqual({ message: 'not all of its users stand still yet', isLasting: false });
  expect(whyIncomplete(volume, { ...seen, now: 9_999 }, undefined)).toBeUndefined();
});
