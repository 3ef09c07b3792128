// The laws of fencing: each finds the history that breaks it, and accepts the one that does not.
import { expect, test } from '@jest/globals';
import { violationsOf } from './check-history.ts';
import type { Happening, HistoryEvent } from './history.ts';
import { kernelName, unfenced } from './history.ts';

const host = 'n1';
const volume = 'share';
const user = '/docker/c1';
const granted: Happening = { kind: 'granted', host, volume, why: 'nobody was before it' };
const removed: Happening = { kind: 'removed', host, volume, why: 'its lease expired' };
const appeared: Happening = { kind: 'appeared', host, user, volumes: [volume] };
const writing: Happening = { kind: 'writing', host, volume, user };
const still: Happening = { kind: 'still', host, volume, user };
const ended: Happening = { kind: 'ended', host, user };
const calm: Happening = { kind: 'calm' };
const claimed = (is: 'running' | 'fenced' | 'ended'): Happening => ({
  ...{ kind: 'claimed', host, volume, is },
});
const excused = (change: Partial<Extract<Happening, { kind: 'excused' }>>): Happening => ({
  ...{ kind: 'excused', host, user: undefined, untilMs: 0, why: 'a reason' },
  ...change,
});

/** Returns the laws that these events break, which happen ten milliseconds after one another. */
function broken(...happenings: Happening[]): string[] {
  const history = happenings.map(
    (happening, index): HistoryEvent => ({
      at: 10 * index,
      ...happening,
    }),
  );
  const laws = violationsOf(history).map(({ message }) => message.split(':')[0] ?? '');
  return [...new Set(laws)];
}

test('exclusion: a host writes only while it holds', () => {
  expect(broken(granted, writing, still, removed, calm)).toEqual([]);
  expect(broken(granted, writing, removed, calm)).toEqual(['exclusion']);
  expect(broken(granted, writing, removed, { ...granted, host: 'n2' }, calm)).toEqual([
    'exclusion',
  ]);
  expect(broken(granted, removed, writing, still)).toEqual(['exclusion']);
});

test('exclusion: the kernel writes, too', () => {
  const kernel: Happening = { kind: 'writing', host, volume, user: kernelName };
  expect(broken(granted, kernel, removed, calm)).toEqual(['exclusion']);
});

test('exclusion: an excuse ends', () => {
  const late = (untilMs: number) => broken(excused({ untilMs }), granted, writing, removed, calm);
  expect(late(40)).toEqual([]);
  expect(late(39)).toEqual(['exclusion']);
  const others = excused({ user: '/docker/c2', untilMs: 100 });
  expect(broken(others, granted, writing, removed, calm)).toEqual(['exclusion']);
  const withdrawn = [excused({ untilMs: 100 }), excused({ untilMs: 10 })];
  expect(broken(...withdrawn, granted, writing, removed, calm)).toEqual(['exclusion']);
});

test('honest report: fenced while nobody writes, ended while nobody uses it', () => {
  expect(broken(granted, appeared, writing, still, claimed('fenced'), calm)).toEqual([]);
  expect(broken(granted, appeared, writing, claimed('fenced'), calm)).toEqual(['honest report']);
  expect(broken(granted, appeared, claimed('ended'), calm)).toEqual(['honest report']);
  expect(broken(granted, appeared, ended, claimed('ended'), calm)).toEqual([]);
  expect(broken(granted, appeared, writing, claimed('running'), calm)).toEqual([]);
});

test('honest report: a process of the host may write, and then the volume is not fenced', () => {
  const left = excused({ user, untilMs: Number.POSITIVE_INFINITY, why: unfenced });
  expect(broken(left, appeared, writing, removed, calm)).toEqual([]);
  expect(broken(left, granted, appeared, writing, claimed('fenced'), calm)).toEqual([
    'honest report',
  ]);
});

test('fences: a volume whose lease has expired is fenced soon, unless something excuses it', () => {
  const mounted: Happening = { kind: 'mounted', host, volume };
  const later = (...happenings: Happening[]) => {
    const history = [granted, mounted, removed, ...happenings].map((each) => ({ at: 0, ...each }));
    const laws = violationsOf([...history, { at: 4_001, ...calm }]);
    return laws.map(({ message }) => message.split(':')[0]);
  };
  expect(later()).toEqual(['fences']);
  expect(later(claimed('fenced'))).toEqual([]);
  expect(later(excused({ untilMs: 10 }))).toEqual([]);
  expect(later({ kind: 'sleeps', host, in: volume, untilMs: 10 })).toEqual([]);
  expect(later({ kind: 'unmounted', host, volume })).toEqual([]);
  expect(later({ ...granted })).toEqual([]);
});

test('stands still, never forgets, never stuck', () => {
  expect(broken({ kind: 'let run', host, user, against: [] })).toEqual([]);
  expect(broken({ kind: 'let run', host, user, against: [volume] })).toEqual(['stands still']);
  expect(broken({ kind: 'forgot', host, volume })).toEqual(['never forgets']);
  expect(broken({ kind: 'finished', leftovers: [] })).toEqual([]);
  expect(broken({ kind: 'finished', leftovers: ['c1 is frozen'] })).toEqual(['never stuck']);
  expect(broken({ kind: 'bug', message: 'x' })).toEqual(['bug']);
});
