// The lock engine under random faults: the real engine on a memory store; network, clocks and hosts
// are simulated in virtual time. A failure prints the seed that repeats it.
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { explore } from '../explore.ts';
import { expectRepeatable } from '../repeatable.ts';
import { violationsOf } from './check-history.ts';
import { describeHistory } from './history.ts';
import { fairScenarios, putBackScenarios, stormyScenarios } from './scenarios.ts';
import type { Scenario } from './simulation.ts';
import { simulate } from './simulation.ts';

/**
 * BERTH_SOAK_SECONDS: how long to search for scenarios that break a promise (40 s otherwise).
 * BERTH_SIM_RUNS: how many stormy scenarios to play at least, because a busy machine plays few in that time.
 * BERTH_SIM_SEED, BERTH_SIM_NO_SHRINK: see ../explore.ts.
 */
const { BERTH_SOAK_SECONDS, BERTH_SIM_RUNS } = process.env;
const budgetMs = Number(BERTH_SOAK_SECONDS ?? 40) * 1_000;
const leastRuns = Number(BERTH_SIM_RUNS ?? 0);
const testTimeoutMs = budgetMs + 120_000 + 250 * leastRuns;

test(
  'the lock engine keeps its promises while hosts, network and store fail',
  () => search(stormyScenarios, budgetMs * 0.45, leastRuns),
  testTimeoutMs,
);

test(
  'the lock engine keeps its promises, and wakes nobody late or without need, while nothing fails',
  () => search(fairScenarios, budgetMs * 0.25),
  testTimeoutMs,
);

test('the simulation plays a scenario in the same way each time', async () => {
  const scenarios = [stormyScenarios, putBackScenarios].flatMap((each) =>
    fc.sample(each, { seed: 1, numRuns: 15 }),
  );
  await expectRepeatable(scenarios, trace);
});

test('the simulation produces every kind of event', async () => {
  const kinds = new Set<string>();
  const codes = new Set<string>();
  const storms = fc.sample(stormyScenarios, { seed: 2, numRuns: 300 });
  const putBacks = fc.sample(putBackScenarios, { seed: 2, numRuns: 20 });
  for (const scenario of [...storms, ...putBacks]) {
    for (const event of await simulate(scenario)) {
      kinds.add(event.kind);
      if (event.kind === 'failed') codes.add(event.code);
    }
  }
  expect([...codes].sort()).toEqual([
    'cancelled',
    'contended',
    'disabled',
    'lost',
    'timeout',
    'unavailable',
  ]);
  expect(kinds.has('bug')).toBe(false);
  expect(kinds.size).toBe(27);
});

function search(scenarios: fc.Arbitrary<Scenario>, limitMs: number, least = 0): Promise<void> {
  const limits = { limitMs, leastRuns: least };
  const describe = describeHistory;
  return explore({ what: 'locks', scenarios, ...limits, play: simulate, violationsOf, describe });
}

async function trace(scenario: Scenario): Promise<string> {
  return describeHistory(await simulate(scenario));
}
