#!/usr/bin/env node
// Runs types, lint, tidy and the tests without a server side by side: run it after each change.
import process from 'node:process';
import { fastEnvironment, fastJest, incrementalTypes, program, root } from './fast-tests.mjs';
import { sideBySide } from './side-by-side.mjs';

const started = performance.now();
const isGreen = await sideBySide(
  [
    { name: 'types', command: program('tsc'), args: incrementalTypes },
    { name: 'lint of what changed', command: process.execPath, args: ['scripts/lint-changed.mjs'] },
    { name: 'tidy', command: process.execPath, args: ['scripts/tidy/main.ts'] },
    { name: 'rooms', command: process.execPath, args: ['scripts/rooms.ts'] },
    {
      name: 'unit tests, memory contracts, 5 s of simulation',
      command: process.execPath,
      // Three workers on two cores, because the memory contracts mostly wait for a TTL.
      args: fastJest('--maxWorkers', '3', '--silent'),
    },
  ],
  { cwd: root, env: fastEnvironment },
);
const seconds = ((performance.now() - started) / 1000).toFixed(1);
process.stdout.write(`${isGreen ? 'Everything passed' : 'Something failed'} (${seconds} s)\n`);
process.exitCode = isGreen ? 0 : 1;
