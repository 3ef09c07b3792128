// `npm run help` against package.json.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';

const root = join(import.meta.dirname, '../../..');

test('npm run help names every script of package.json, and no other', () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const callable = Object.keys(scripts).filter((name) => !name.startsWith('pre'));
  const help = execFileSync(process.execPath, ['scripts/help.mjs'], {
    cwd: root,
    encoding: 'utf8',
  });
  const named = [...help.matchAll(/^npm (?:run )?(\S+)/gm)].map(([, name]) => name);
  expect(named.toSorted()).toEqual(callable.toSorted());
});
