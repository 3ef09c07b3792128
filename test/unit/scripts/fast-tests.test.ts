import { globSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';

const root = join(import.meta.dirname, '../../..');

test('each pattern of the fast tests has files', async () => {
  const { fastTests }: { fastTests: string[] } = await import(join(root, 'scripts/fast-tests.mjs'));
  expect(fastTests.length).toBeGreaterThan(0);
  expect(fastTests.filter((glob) => globSync(glob, { cwd: root }).length === 0)).toEqual([]);
});
