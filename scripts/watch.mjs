#!/usr/bin/env node
// Waits for changes and checks them: all types, lint of the changed files, and the fast tests that
// import them.
import { existsSync, watch } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as delay } from 'node:timers/promises';
import { fastEnvironment, fastJest, incrementalTypes, program, root } from './fast-tests.mjs';
import { sideBySide } from './side-by-side.mjs';

const folders = ['bench', 'cli', 'demo', 'lib', 'plugin', 'scripts', 'sentinel', 'test'];
/** Milliseconds to wait, because editors write a file in several steps. */
const settleMs = 150;

const changed = new Set();
let wake = () => {};
for (const folder of folders) {
  watch(join(root, folder), { recursive: true }, (_event, name) => {
    if (!/\.(ts|mjs)$/.test(name ?? '')) return;
    changed.add(join(folder, name));
    wake();
  });
}
process.stdout.write(`Watching ${folders.join(', ')}. Press Ctrl-C to stop.\n`);
for (;;) {
  if (changed.size === 0) await new Promise((resolve) => (wake = resolve));
  await delay(settleMs);
  const files = [...changed].filter((name) => existsSync(join(root, name)));
  changed.clear();
  await check(files);
}

async function check(files) {
  process.stdout.write(`\n${new Date().toLocaleTimeString()}  ${files.join(' ')}\n`);
  const parts = [
    { name: 'types', command: program('tsc'), args: incrementalTypes },
    { name: 'tidy', command: process.execPath, args: ['scripts/tidy/main.ts'] },
  ];
  if (files.length > 0) {
    parts.push(
      { name: 'lint', command: program('biome'), args: ['check', ...files] },
      {
        name: 'tests',
        command: process.execPath,
        args: fastJest('--findRelatedTests', '--passWithNoTests', '--silent', ...files),
        loud: true,
      },
    );
  }
  await sideBySide(parts, { cwd: root, env: fastEnvironment });
}
