// Preloaded into a daemon by a test (node --import): appends a line to the file STARTED_PROGRAMS for each program
// that the daemon's own process starts, with its arguments. Its worker and its sentinel inherit the option, and are
// left alone.
import programs from 'node:child_process';
import { subscribe } from 'node:diagnostics_channel';
import { appendFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const file = process.env.STARTED_PROGRAMS ?? '';

function started(what) {
  appendFileSync(file, `${what.join(' ')}\n`);
}

if (process.argv[1]?.includes('plugin/main.')) {
  subscribe('child_process', ({ process: child }) => {
    const spawn = child.spawn.bind(child);
    child.spawn = (options) => {
      started(options.args);
      return spawn(options);
    };
  });
  for (const name of ['spawnSync', 'execSync', 'execFileSync']) {
    const run = programs[name];
    programs[name] = (...args) => {
      started([name, ...args.slice(0, 2).flat().map(String)]);
      return run(...args);
    };
  }
  syncBuiltinESMExports();
}
