// Jest's sequencer for `npm run fast`: the slowest files start first, and nothing is spread. The two
// long files (one waits for real TTLs, one simulates for a given time) then run from the first
// moment, and the many short ones beside them.
import SlowestFirst, { bySeconds } from './slowest-first.mjs';

export default class LongestFirst extends SlowestFirst {
  sort(tests) {
    return bySeconds(tests).map(({ test }) => test);
  }
}
