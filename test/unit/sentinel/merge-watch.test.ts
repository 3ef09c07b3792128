// Which volumes stay watched when the daemon gives its list.
import { expect, test } from '@jest/globals';
import {
  mergeChange,
  mergeWatch,
  newDeadline,
  withDeadline,
} from '../../../sentinel/merge-watch.ts';
import type { Watch, WatchedVolume } from '../../../sentinel/watch.ts';
import { watchSchema } from '../../../sentinel/watch.ts';
import { watched } from './views.ts';

const nobody = () => false;
const watchOf = (volumes: WatchedVolume[], change: Partial<Watch> = {}): Watch => ({
  ...watchSchema.parse({ bootId: 'b', leadMs: 1, graceMs: 1, noted: 0, volumes: [], protocol: 2 }),
  volumes,
  ...change,
});

test('a volume that is absent stays, as unproven with its last deadline', () => {
  const { volumes, ended } = mergeWatch([watched('db')], watchOf([watched('other')]), nobody);
  expect(volumes).toEqual([watched('other'), watched('db', { state: 'unproven' })]);
  expect(ended).toEqual([]);
});

test('a released mount goes; a newer mount of the volume stays', () => {
  const released = [{ volume: 'db', tenure: 'db-1' }]; // tidy-ok: protocol name
  const gone = mergeWatch([watched('db')], watchOf([], { released }), nobody);
  expect(gone).toEqual({ volumes: [], ended: ['db'] });
  const newer = watched('db', { tenure: 'db-2' }); // tidy-ok: protocol name
  expect(mergeWatch([newer], watchOf([], { released }), nobody).volumes).toHaveLength(1);
});

test('a lost volume that is absent stays lost', () => {
  const { volumes } = mergeWatch([watched('db', { state: 'lost' })], watchOf([]), nobody);
  expect(volumes).toEqual([watched('db', { state: 'lost' })]);
});

test('for a daemon of protocol 1 absence releases, unless users are stopped', () => {
  const old = watchOf([], { protocol: 1 });
  expect(mergeWatch([watched('db')], old, nobody).ended).toEqual(['db']);
  expect(mergeWatch([watched('db')], old, () => true).volumes).toHaveLength(1);
});

test('an unproven volume keeps its deadline; a new mount has none', () => {
  const news = { state: 'unproven', deadlineMs: undefined } as const;
  const same = mergeWatch([watched('db')], watchOf([watched('db', news)]), nobody);
  expect(same.volumes).toEqual([watched('db', { state: 'unproven' })]);
  const other = watched('db', { ...news, tenure: 'db-2' }); // tidy-ok: protocol name
  const released = [{ volume: 'db', tenure: 'db-1' }]; // tidy-ok: protocol name
  const replaced = mergeWatch([watched('db')], watchOf([other], { released }), nobody);
  expect(replaced).toEqual({ volumes: [other], ended: ['db'] });
});

test('a mount with another mark that follows no release is the same mount', () => {
  const adopted = watched('db', { tenure: 'db-2' }); // tidy-ok: protocol name
  const merged = mergeWatch([watched('db')], watchOf([adopted]), nobody);
  expect(merged).toEqual({ volumes: [adopted], ended: [] });
});

test('a change adds and replaces what it names, ends what it releases, and leaves all else', () => {
  const known = [watched('a'), watched('b'), watched('c', { state: 'lost' })];
  const [ofA, ofB] = [
    { volume: 'a', tenure: 'a-1' }, // tidy-ok: protocol name
    { volume: 'b', tenure: 'b-1' }, // tidy-ok: protocol name
  ];
  const newer = watched('b', { tenure: 'b-2' }); // tidy-ok: protocol name
  const merged = mergeChange(known, { volumes: [newer, watched('d')], released: [ofA, ofB] });
  expect(merged.volumes).toEqual([watched('c', { state: 'lost' }), newer, watched('d')]);
  expect(merged.ended).toEqual(['a', 'b']);
  // Another mark without a release is the same mount; a release of another mount ends nothing.
  expect(mergeChange(known, { volumes: [newer], released: [] }).ended).toEqual([]);
  const stale = { volume: 'a', tenure: 'a-0' }; // tidy-ok: protocol name
  expect(mergeChange(known, { volumes: [], released: [stale] }).volumes).toEqual(known);
});

test('a change of a volume to unproven keeps its deadline', () => {
  const news = watched('a', { state: 'unproven', deadlineMs: undefined });
  const [merged] = mergeChange([watched('a')], { volumes: [news], released: [] }).volumes;
  expect(merged).toEqual(watched('a', { state: 'unproven' }));
});

test('a watch that moves only the deadlines is distinguished from any other', () => {
  const lost = watched('l', { state: 'lost', deadlineMs: undefined });
  const before = watchOf([watched('a', { deadlineMs: 5 }), watched('b', { deadlineMs: 6 }), lost]);
  const moved = before.volumes.map((each) => (each === lost ? lost : { ...each, deadlineMs: 9 }));
  expect(newDeadline(before, watchOf(moved))).toBe(9);
  expect(withDeadline(before.volumes, 9)).toEqual(moved);
  const [a, b] = moved;
  for (const other of [
    watchOf(moved.slice(1)),
    watchOf(moved.map((each) => (each === b ? { ...b, deadlineMs: 10 } : each))),
    watchOf(moved.map((each) => (each === a ? { ...a, state: 'evicted' as const } : each))),
    watchOf(moved.map((each) => (each === lost ? { ...lost, deadlineMs: 9 } : each))),
    watchOf(moved, { leadMs: 2 }),
    watchOf(moved, { noted: 7 }),
  ]) {
    expect(newDeadline(before, other)).toBeUndefined();
  }
});
