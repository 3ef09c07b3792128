// The Kubernetes store under random faults: real lock managers, the real store, a simulated API server in
// virtual time. A failure prints the seed that repeats it.
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { explore } from '../explore.ts';
import { describeHistory } from '../locks/history.ts';
import { fairScenarios, stormyScenarios } from '../locks/scenarios.ts';
import type { Scenario } from '../locks/simulation.ts';
import { simulate } from '../locks/simulation.ts';
import { expectRepeatable } from '../repeatable.ts';
import { violationsOf } from './check-history.ts';
import { kubernetesWorld } from './kubernetes-world.ts';
import { copiedScenarios } from './scenarios.ts';

/** BERTH_SOAK_SECONDS, BERTH_SIM_RUNS, BERTH_SIM_SEED, BERTH_SIM_NO_SHRINK: see ../locks/simulation.test.ts. */
const { BERTH_SOAK_SECONDS, BERTH_SIM_RUNS } = process.env;
const budgetMs = Number(BERTH_SOAK_SECONDS ?? 5) * 1_000;
const leastRuns = Number(BERTH_SIM_RUNS ?? 70);
const testTimeoutMs = budgetMs + 120_000 + 500 * leastRuns;

const play = (scenario: Scenario) => simulate(scenario, kubernetesWorld);

test(
  'the Kubernetes store keeps its promises while clients, network and API server fail',
  () => search(stormyScenarios, 0.4),
  testTimeoutMs,
);

test(
  'the Kubernetes store keeps its promises while processes of one identity meet',
  () => search(copiedScenarios, 0.4),
  testTimeoutMs,
);

test(
  'the Kubernetes store keeps its promises, and wakes nobody late or without need, while nothing fails',
  () => search(fairScenarios, 0.2),
  testTimeoutMs,
);

test('the simulation plays a scenario on Kubernetes in the same way each time', async () => {
  const scenarios = [stormyScenarios, copiedScenarios].flatMap((each) =>
    fc.sample(each, { seed: 1, numRuns: 5 }),
  );
  await expectRepeatable(scenarios, trace);
});

test('the simulation produces every kind of event on Kubernetes', async () => {
  const kinds = new Set<string>();
  const storms = fc.sample(stormyScenarios, { seed: 2, numRuns: 60 });
  const copies = fc.sample(copiedScenarios, { seed: 2, numRuns: 20 });
  for (const scenario of [...storms, ...copies]) {
    for (const { kind } of await play(scenario)) kinds.add(kind);
  }
  expect(kinds).toContain('taken over');
  expect(kinds).not.toContain('bug');
  // All but `put back`, and `write refused`, which is too rare.
  expect(kinds.size).toBe(26);
});

function search(scenarios: fc.Arbitrary<Scenario>, share: number): Promise<void> {
  const limits = { limitMs: budgetMs * share, leastRuns };
  const describe = describeHistory;
  const what = 'locks on Kubernetes';
  return explore({ what, scenarios, ...limits, play, violationsOf, describe });
}

async function trace(scenario: Scenario): Promise<string> {
  return describeHistory(await play(scenario));
}
