// The lists of mutations fit the sources; nothing is run.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { fencingMutations } from './fencing/mutations.ts';
import { kubernetesMutations } from './kubernetes/mutations.ts';
import { lockMutations } from './locks/mutations.ts';

const root = join(import.meta.dirname, '../..');
const mutations = [lockMutations, kubernetesMutations, fencingMutations].flatMap(
  (list) => list.mutations,
);

test('each mutation changes a text that its file contains', () => {
  const stale = mutations.filter(({ file, from }) => {
    const path = join(root, file);
    return !existsSync(path) || !readFileSync(path, 'utf8').includes(from);
  });
  expect(stale.map(({ promise, file, from }) => [promise, file, from])).toEqual([]);
});

test('each test that a mutation names exists', () => {
  const tests = mutations.flatMap(({ test }) => test ?? []);
  expect(tests.filter((path) => !existsSync(join(root, path)))).toEqual([]);
});
