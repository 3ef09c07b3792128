#!/usr/bin/env node
// Runs the simulations and the fault tests of the locks for as long as asked: npm run test:soak -- 3600
import { spawnSync } from 'node:child_process';

const [seconds = '600', ...others] = process.argv.slice(2);
if (!/^\d+$/.test(seconds) || others.length > 0) {
  process.stderr.write('usage: npm run test:soak -- SECONDS (600 when left out)\n');
  process.exit(2);
}
const { status } = spawnSync('npm', ['test', '--', 'test/simulation', 'test/chaos'], {
  stdio: 'inherit',
  env: { ...process.env, BERTH_SOAK_SECONDS: seconds },
});
process.exit(status ?? 1);
