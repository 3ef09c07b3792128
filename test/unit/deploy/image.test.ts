import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';

const root = join(import.meta.dirname, '../../..');

test('the build of the image is given every folder that is compiled', () => {
  const { include } = JSON.parse(readFileSync(join(root, 'tsconfig.build.json'), 'utf8'));
  const given = readFileSync(join(root, '.dockerignore'), 'utf8').split('\n');
  expect(include.filter((folder: string) => !given.includes(`!${folder}`))).toEqual([]);
});
