// Which snapshot each snapshot descends from. Pure.
import { expect, test } from '@jest/globals';
import { withoutSnapshot, withSnapshot } from '../../../../../lib/volumes/operations/lineage.ts';
import type { Snapshot } from '../../../../../lib/volumes/volume.ts';

type Lineage = Parameters<typeof withSnapshot>[0];

const none: Lineage = { snapshots: [], head: undefined };
const named = (name: string): Snapshot => ({ name, createdAt: '2026-01-02T03:04:05.000Z' });
const take = (from: Lineage, ...names: string[]) =>
  names.reduce((lineage, name) => withSnapshot(lineage, named(name)), from);
const parents = ({ snapshots }: Lineage) =>
  Object.fromEntries(snapshots.map(({ name, parent }) => [name, parent]));

test('a snapshot descends from the one before, or from the one that was restored since', () => {
  const two = take(none, 'monday', 'tuesday');
  expect(parents(two)).toEqual({ monday: undefined, tuesday: 'monday' });
  const restored = take({ ...two, head: 'monday' }, 'wednesday');
  expect(parents(restored)).toEqual({ monday: undefined, tuesday: 'monday', wednesday: 'monday' });
});

test('what descends from a removed snapshot descends from its parent', () => {
  const three = take(none, 'monday', 'tuesday', 'wednesday');
  const left = withoutSnapshot(three, 'tuesday');
  expect(parents(left)).toEqual({ monday: undefined, wednesday: 'monday' });
  expect(withoutSnapshot(left, 'wednesday').head).toBe('monday');
  expect(withoutSnapshot(take(none, 'monday'), 'monday').head).toBeUndefined();
});
