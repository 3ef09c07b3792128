// ARCHITECTURE.md against the tree: its table names each folder with programs, and no other.
import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from '@jest/globals';

const repository = join(import.meta.dirname, '../../..');

/** The folders of programs; below test/ only the first level. */
function roomsOfTree(): string[] {
  const tops = '{bench,cli,demo,deploy,lib,plugin,scripts,sentinel,test}';
  const programs = globSync(`${tops}/**/*.{ts,mjs}`, { cwd: repository });
  const folders = programs.map((path) => dirname(path).replace(/^(test\/[^/]+)\/.*/, '$1'));
  return [...new Set(folders), 'bin'].sort();
}

/** The folders in the first column of the table of rooms, with braces expanded. */
function roomsOfTable(): string[] {
  const text = readFileSync(join(repository, 'ARCHITECTURE.md'), 'utf8');
  const section = text.split('\n## Rooms\n')[1]?.split('\n## ')[0] ?? '';
  const cells = section.split('\n').flatMap((line) => /^\| (`[^|]*) \|/.exec(line)?.[1] ?? []);
  const names = cells.flatMap((cell) => [...cell.matchAll(/`([^`]+)\/`/g)]);
  return names.flatMap(([, name = '']) => expanded(name)).sort();
}

function expanded(name: string): string[] {
  const [, before = '', inner = '', after = ''] = /^(.*)\{(.*)\}(.*)$/.exec(name) ?? [];
  return inner === '' ? [name] : inner.split(',').map((word) => `${before}${word}${after}`);
}

test('the table of rooms names each folder that has programs, and no other', () => {
  expect(roomsOfTable()).toEqual(roomsOfTree());
});
