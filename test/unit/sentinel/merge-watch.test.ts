// Which volumes stay watched when the daemon gives its list.
import { expect, test } from '@jest/globals';
import { mergeWatch } from '../../../sentinel/merge-watch.ts';
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
