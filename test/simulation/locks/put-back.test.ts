// The lock engine while its store is put back to earlier states: the real engine and the real StoreHistory on a memory
// store; restores, network, clocks and hosts are simulated in virtual time. A failure prints the seed that repeats it.
import { test } from '@jest/globals';
import { explore } from '../explore.ts';
import { violationsOf } from './check-history.ts';
import { describeHistory } from './history.ts';
import { putBackScenarios } from './scenarios.ts';
import { simulate } from './simulation.ts';

/** BERTH_SOAK_SECONDS, BERTH_SIM_RUNS, BERTH_SIM_SEED, BERTH_SIM_NO_SHRINK: as in simulation.test.ts. */
const { BERTH_SOAK_SECONDS, BERTH_SIM_RUNS } = process.env;
const limitMs = Number(BERTH_SOAK_SECONDS ?? 40) * 250;
const leastRuns = Number(BERTH_SIM_RUNS ?? 0);

test(
  'the lock engine keeps its promises while its store is put back to earlier states',
  () =>
    explore({
      ...{ what: 'locks on a store that is put back', scenarios: putBackScenarios },
      ...{ limitMs, leastRuns, play: simulate, violationsOf, describe: describeHistory },
    }),
  limitMs + 120_000 + 250 * leastRuns,
);
