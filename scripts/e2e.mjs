#!/usr/bin/env node
// Runs the tests in test/e2e whose path contains one of the names; without a name, lists folders
// and files.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import process from 'node:process';
import { root } from './fast-tests.mjs';

const folder = 'test/e2e';
const names = process.argv.slice(2);
const files = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.test.ts'))
  .sort();

if (names.length === 0) {
  process.stdout.write(`${list()}\nRun some: npm run test:e2e -- mounts/volumes fencing\n`);
} else {
  run(files.filter((file) => names.some((name) => join(folder, file).includes(name))));
}

function list() {
  const folders = Map.groupBy(files, (file) => dirname(file));
  return [...folders]
    .map(
      ([name, own]) =>
        `${name}\n${own.map((file) => `  ${basename(file, '.test.ts')}\n`).join('')}`,
    )
    .join('');
}

function run(chosen) {
  if (chosen.length === 0) {
    process.stderr.write(`No test in ${folder} has ${names.join(' or ')} in its path.\n`);
    process.exitCode = 2;
    return;
  }
  const paths = chosen.map((file) => join(folder, file));
  const jest = spawnSync('npm', ['test', '--', '--runTestsByPath', ...paths], {
    cwd: root,
    stdio: 'inherit',
  });
  process.exitCode = jest.status ?? 1;
}
