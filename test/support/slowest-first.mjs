// Jest's sequencer: the order in which the test files start. Most files wait (for a TTL, for an
// engine), so there are more workers than cores. The slowest files start first, so that no worker
// is left with a long file at the end. Files that keep a core busy are spread evenly among the
// others.
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';

/**
 * Seconds per file, as measured by slowest-files.mjs: `WRITE_DURATIONS=1 npm test` renews the list.
 */
const durations = JSON.parse(readFileSync(new URL('durations.json', import.meta.url), 'utf8'));

/** A file that is not in the list may be slow. */
const unknownSeconds = 10;

/** Files that compute all the time, or write to a store without a pause. */
const busy = /^test\/(spec|simulation|contract\/(driver|locks|recipes|stores))\//;

export default class SlowestFirst {
  sort(tests) {
    const named = bySeconds(tests);
    const isBusy = ({ name }) => busy.test(name);
    return spread(
      named.filter(isBusy),
      named.filter((each) => !isBusy(each)),
    ).map(({ test }) => test);
  }

  /** Jest offers the results of a run for the next order, which durations.json decides instead. */
  cacheResults() {}
}

/** Each test with its name and duration, the longest first. */
export function bySeconds(tests) {
  const named = tests.map((test) => {
    const name = relative(test.context.config.rootDir, test.path);
    return { test, name, seconds: durations[name] ?? unknownSeconds };
  });
  return named.sort(
    (one, other) => other.seconds - one.seconds || (one.name < other.name ? -1 : 1),
  );
}

/**
 * Merges two lists so that each part of the result has the seconds of both lists in the same ratio.
 */
function spread(one, other) {
  const merged = [one, other].flatMap((list) => {
    const all = list.reduce((sum, { seconds }) => sum + seconds, 0);
    let before = 0;
    return list.map((each) => {
      const position = before / all;
      before += each.seconds;
      return { each, position };
    });
  });
  return merged.sort((a, b) => a.position - b.position).map(({ each }) => each);
}
