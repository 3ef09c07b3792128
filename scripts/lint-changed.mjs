#!/usr/bin/env node
// Lints the files that have changed since they last passed, because a lint of all files is the longest
// part of `npm run fast`. `npm run check` lints them all: a change can also break the types that a
// rule reads in another file. Works on the project in the current directory.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { execute } from './execute.mjs';
import { program } from './fast-tests.mjs';

const root = process.cwd();
const cache = join(root, 'node_modules/.cache/berth-lint.json');
const hash = (...parts) => createHash('sha1').update(parts.join('\0')).digest('base64');

const configuration = ['biome.json', 'package.json', 'package-lock.json']
  .map((name) => readFileSync(join(root, name), 'utf8'))
  .join();
const list = ['ls-files', '-z', '--cached', '--others', '--exclude-standard'];
const names = execFileSync('git', list, { cwd: root, encoding: 'utf8' }).split('\0');
const files = new Map(
  names
    .filter((name) => name !== '' && existsSync(join(root, name)))
    .map((name) => [name, hash(configuration, readFileSync(join(root, name), 'latin1'))]),
);
const passed = existsSync(cache) ? JSON.parse(readFileSync(cache, 'utf8')) : {};
const changed = [...files.keys()].filter((name) => passed[name] !== files.get(name));
if (changed.length > 0) {
  const options = [
    '--error-on-warnings',
    '--files-ignore-unknown=true',
    '--no-errors-on-unmatched',
  ];
  const { code, output } = await execute(program('biome'), ['ci', ...options, ...changed], {
    cwd: root,
    env: process.env,
  });
  if (code !== 0) {
    process.stdout.write(output);
    process.exit(1);
  }
  mkdirSync(dirname(cache), { recursive: true });
  writeFileSync(cache, JSON.stringify(Object.fromEntries(files)));
}
