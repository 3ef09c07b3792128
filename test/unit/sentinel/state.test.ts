// What a sentinel leaves to its successor, in a file in memory.
import { describe, expect, test } from '@jest/globals';
import type { StateFile } from '../../../sentinel/ports.ts';
import { SentinelState } from '../../../sentinel/state.ts';
import { watchSchema } from '../../../sentinel/watch.ts';
import { container, watched } from './views.ts';

class MemoryFile implements StateFile {
  lines: string[] = [];
  isFull = false;
  read = () => [...this.lines];
  append = (line: string) => {
    if (this.isFull) return false;
    this.lines.push(line);
    return true;
  };
  replace = (line: string) => {
    this.lines = [line];
    return true;
  };
}

const clock = { date: () => new Date(1_000) };
const open = (file: StateFile, boot = 'boot') => new SentinelState(file, boot, clock);
const none = { bootId: 'boot', leadMs: 1, graceMs: 1, noted: 0, protocol: 2 };
const watch = watchSchema.parse({ ...none, volumes: [watched('db')] });
const db = container('c', 'db');

describe('a successor', () => {
  test('knows the watch, the fences, whom it stopped and what is not reported yet', () => {
    const file = new MemoryFile();
    const first = open(file);
    first.update(watch);
    first.changeFence('db', { phase: 'fenced', fs: 'frozen', fsSinceMs: 5 });
    first.setStopped({ user: db, shown: 'asked' });
    first.note('paused', 'db', 'paused it', 'c');
    first.commit();
    const next = open(file);
    expect(next.volumes).toEqual([watched('db')]);
    expect(next.fence('db')).toMatchObject({ phase: 'fenced', fs: 'frozen' });
    expect([...next.stopped.values()]).toEqual([{ user: db, shown: 'asked' }]);
    expect(next.happenings).toMatchObject([{ kind: 'paused', container: 'c' }]);
    next.note('resumed', 'db', 'resumed it');
    const [paused, resumed] = next.happenings.map(({ number }) => number);
    expect(resumed).toBe((paused ?? 0) + 1);
  });

  test('knows each happening once that the daemon has not noted, whoever wrote the file', () => {
    const file = new MemoryFile();
    const first = open(file);
    first.update(watch);
    first.note('paused', 'db', 'first');
    first.commit();
    first.note('paused', 'db', 'second');
    first.commit();
    const texts = () => open(file).happenings.map(({ message }) => message);
    expect(texts()).toEqual(['first', 'second']);
    // Each line has only what is new; the release before wrote all into each line.
    const third = open(file);
    third.note('resumed', 'db', 'third');
    third.commit();
    expect(file.lines.at(-1)).not.toContain('second');
    const { happenings } = third;
    file.lines.push(JSON.stringify({ version: 2, happenings, nextNumber: 9e15 }));
    expect(texts()).toEqual(['first', 'second', 'third']);
    third.update({ ...watch, noted: happenings[1]?.number ?? 0 });
    expect(texts()).toEqual(['third']);
  });

  test('loses no happening: a daemon that was away gets all in several reports', () => {
    const file = new MemoryFile();
    let state = open(file);
    state.update(watch);
    const texts = Array.from({ length: 450 }, (_, index) => `action ${index}`);
    for (const text of texts) state.note('paused', 'db', text);
    state.commit();
    const recorded: string[] = [];
    for (let noted = 0; state.reported.length > 0; state.update({ ...watch, noted })) {
      recorded.push(...state.reported.map(({ message }) => message));
      noted = state.reported.at(-1)?.number ?? 0;
      state = open(file);
    }
    expect(recorded).toEqual(texts);
  });

  test('says how many happenings are lost when no daemon comes for very long', () => {
    const file = new MemoryFile();
    const state = open(file);
    state.update(watch);
    for (let index = 0; index < 6_000; index++) state.note('paused', 'db', `action ${index}`);
    const [lost, first] = state.happenings;
    expect(lost).toMatchObject({ kind: 'failed', volume: '' });
    const missing = Number(/^(\d+) or more/.exec(lost?.message ?? '')?.[1]);
    expect(first?.message).toBe(`action ${missing}`);
    expect(missing + state.happenings.length - 1).toBe(6_000);
    expect(first?.number).toBe((lost?.number ?? 0) + 1);
    state.commit();
    expect(open(file).happenings).toHaveLength(state.happenings.length);
  });

  test('knows mounts that were added, have ended, or have a new deadline, which are short lines', () => {
    const file = new MemoryFile();
    const first = open(file);
    first.update(watch);
    first.changeFence('db', { phase: 'preparing' });
    first.change({ volumes: [watched('web')], released: [] });
    const moved = [watched('db', { deadlineMs: 77 }), watched('web', { deadlineMs: 77 })];
    first.update({ ...watch, volumes: moved });
    expect(open(file).volumes).toEqual(moved);
    expect(file.lines.slice(-1).join('').length).toBeLessThan(1_000);
    const next = open(file);
    next.change({ volumes: [], released: [watched('db')] });
    const later = open(file);
    expect(later.volumes).toEqual(moved.slice(1));
    expect(later.fence('db').phase).toBe('running');
  });

  test('knows what a line had that could not be written', () => {
    const file = new MemoryFile();
    const first = open(file);
    first.update(watch);
    file.isFull = true;
    first.change({ volumes: [watched('web')], released: [] });
    file.isFull = false;
    first.note('paused', 'db', 'paused it');
    first.commit();
    expect(open(file).volumes.map(({ volume }) => volume)).toEqual(['db', 'web']);
  });

  test('reads up to a torn line, and knows nothing of another boot', () => {
    const file = new MemoryFile();
    const first = open(file);
    first.update(watch);
    first.setStopped({ user: db, shown: 'no' });
    first.commit();
    file.lines.push('{"version":2,"stopped":{"c":nu');
    expect(open(file).stopped.size).toBe(1);
    expect(open(file, 'later boot').stopped.size).toBe(0);
  });

  test('a user that is stopped no more, and a volume that is watched no more, are gone', () => {
    const file = new MemoryFile();
    const first = open(file);
    first.update(watch);
    first.changeFence('db', { phase: 'fenced' });
    first.setStopped({ user: db, shown: 'no' });
    first.commit();
    first.removeStopped('c');
    first.update(watchSchema.parse({ ...none, released: [watched('db')], volumes: [] }));
    const next = open(file);
    expect([next.volumes, next.stopped.size, next.fence('db').phase]).toEqual([[], 0, 'running']);
  });

  test('continues from the state of protocol 1', () => {
    const old = {
      watch: { ...none, protocol: undefined, volumes: [watched('db')] },
      guards: {
        db: {
          ...{ state: 'fenced', isStill: true, isCutOff: false, isAsked: false, isFlushed: true },
          ...{ killed: [], complaint: '', identity: { device: '7:1', root: '/' } },
        },
      },
      paused: [{ id: 'c', volumes: ['db'], group: db.group, isUsers: true, isUncertain: false }],
      happenings: [],
      nextNumber: 9,
    };
    const file = new MemoryFile();
    file.lines = [JSON.stringify(old)];
    const state = open(file);
    expect(state.fence('db')).toMatchObject({ phase: 'fenced', fs: 'frozen' });
    expect([...state.stopped.values()]).toMatchObject([{ user: { id: 'c' }, shown: 'persons' }]);
  });
});

test('one commit writes one line, and the file is written from the start when it has grown', () => {
  const file = new MemoryFile();
  const state = open(file);
  state.update(watch);
  const before = file.lines.length;
  for (let n = 0; n < 100; n += 1)
    state.setStopped({ user: container(`c${n}`, 'db'), shown: 'no' });
  state.commit();
  state.commit();
  expect(file.lines).toHaveLength(before + 1);
  for (let n = 0; n < 10_000; n += 1) {
    state.setStopped({ user: container(`c${n % 100}`, 'db'), shown: 'no' });
    state.commit();
  }
  expect(file.lines.length).toBeLessThan(10_000);
  expect(open(file).stopped.size).toBe(100);
});
