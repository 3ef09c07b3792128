#!/usr/bin/env node
// Runs the simulations and the fault tests of the locks, then the containers that write, each for
// the given number of seconds: npm run test:soak -- 3600
import { spawnSync } from 'node:child_process';

const [seconds = '600', ...others] = process.argv.slice(2);
if (!/^\d+$/.test(seconds) || others.length > 0) {
  process.stderr.write('usage: npm run test:soak -- SECONDS (default: 600)\n');
  process.exit(2);
}
const writers = 'test/chaos/writers';
/**
 * The writers run last and alone: a machine that is busy with simulations can't meet their real
 * deadlines.
 */
const parts = [['test/simulation', 'test/chaos', '--testPathIgnorePatterns', writers], [writers]];
let status = 0;
for (const paths of parts) {
  const part = spawnSync('npm', ['test', '--', ...paths], {
    stdio: 'inherit',
    env: { ...process.env, BERTH_SOAK_SECONDS: seconds },
  });
  status ||= part.status ?? 1;
}
process.exit(status);
