// Jest's reporter for the end of a run: prints the slowest test files. With WRITE_DURATIONS=1 it
// also writes the duration of each file to durations.json, from which slowest-first.mjs takes the
// order of the next run.
import { readFileSync, writeFileSync } from 'node:fs';
import { relative } from 'node:path';

const file = new URL('durations.json', import.meta.url);
const shown = 15;

export default class SlowestFiles {
  constructor({ rootDir }) {
    this.rootDir = rootDir;
  }

  onRunComplete(_contexts, { testResults }) {
    const all = testResults
      .map(({ testFilePath, perfStats: { start, end } }) => ({
        name: relative(this.rootDir, testFilePath),
        seconds: (end - start) / 1_000,
      }))
      .filter(({ seconds }) => seconds > 0)
      .sort((one, other) => other.seconds - one.seconds);
    if (all.length > 1) {
      const sum = all.reduce((total, { seconds }) => total + seconds, 0);
      const lines = all
        .slice(0, shown)
        .map((each) => `${each.seconds.toFixed(1).padStart(7)} s  ${each.name}`);
      process.stderr.write(
        `Slowest of ${all.length} files, which took ${sum.toFixed(0)} s together:\n${lines.join('\n')}\n\n`,
      );
    }
    if (process.env.WRITE_DURATIONS === '1') this.#write(all);
  }

  #write(all) {
    const known = JSON.parse(readFileSync(file, 'utf8'));
    for (const { name, seconds } of all) known[name] = Math.ceil(seconds);
    const sorted = Object.entries(known).sort(([one], [other]) => (one < other ? -1 : 1));
    writeFileSync(file, `${JSON.stringify(Object.fromEntries(sorted), null, 2)}\n`);
  }
}
