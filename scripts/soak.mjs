#!/usr/bin/env node
// Runs the simulations and the faults of the locks, and then that of containers that write, each
// for as long as asked: npm run test:soak -- 3600
import { spawnSync } from 'node:child_process';

const [seconds = '600', ...others] = process.argv.slice(2);
if (!/^\d+$/.test(seconds) || others.length > 0) {
  process.stderr.write('usage: npm run test:soak -- SECONDS (600 when left out)\n');
  process.exit(2);
}
const writers = 'test/chaos/writers';
/** The writers last and alone: real deadlines can't be met on a machine that is busy simulating. */
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
