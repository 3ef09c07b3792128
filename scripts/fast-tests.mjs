// The tests that need neither root nor a server and take seconds: `npm run fast` and `npm run
// watch` run them.
import { join } from 'node:path';
import process from 'node:process';

export const root = join(import.meta.dirname, '..');

export const fastTests = [
  'test/unit/**/*.test.ts',
  'test/contract/stores/memory/*.test.ts',
  'test/contract/locks/memory-locks.test.ts',
  'test/contract/recipes/noop-locks.test.ts',
  'test/promises/*.test.ts',
  'test/simulation/*/simulation.test.ts',
  'test/simulation/*/check-history.test.ts',
  'test/simulation/mutations.test.ts',
];

/** Tests that start compilers, Jest and many a Node: only `npm test` takes these seconds. */
const starters = [
  'test/unit/cli/compile-cache.test.ts',
  'test/unit/plugin/start-cost.test.ts',
  'test/unit/scripts/{loop,walls}.test.ts',
];

/** The arguments of Node that run the fast tests under Jest. */
export function fastJest(...args) {
  return [
    '--experimental-vm-modules',
    '--disable-warning=ExperimentalWarning',
    join(root, 'node_modules/jest/bin/jest.js'),
    ...['--testSequencer', join(root, 'test/support/longest-first.mjs')],
    ...['--testMatch', ...fastTests.map((glob) => `<rootDir>/${glob}`)],
    ...starters.map((glob) => `!${join(root, glob)}`),
    ...args,
  ];
}

/** The environment of the fast tests: 2.5 seconds for each of the two simulations. */
export const fastEnvironment = { BERTH_SOAK_SECONDS: '2.5', ...process.env };

/** Arguments of tsc that check only what changed since the last run. */
export const incrementalTypes = [
  '--incremental',
  '--tsBuildInfoFile',
  join(root, 'node_modules/.cache/berth-types.json'),
];

export const program = (name) => join(root, 'node_modules/.bin', name);
