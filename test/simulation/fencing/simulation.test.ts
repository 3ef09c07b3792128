// Fencing under random faults: the real sentinel on simulated machines, with engines, daemons, a
// store, containers and disks in virtual time. A failure prints the seed that repeats it.
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Sentinel } from '../../../sentinel/sentinel.ts';
import { explore } from '../explore.ts';
import { expectRepeatable } from '../repeatable.ts';
import { violationsOf } from './check-history.ts';
import type { Scenario } from './commands.ts';
import type { HistoryEvent } from './history.ts';
import { describeHistory } from './history.ts';
import { scenarios } from './scenarios.ts';
import { simulate } from './simulation.ts';

/**
 * BERTH_SOAK_SECONDS: how long to search for scenarios that break a law (20 s otherwise).
 * BERTH_SIM_RUNS: how many scenarios to play at least, because a busy machine plays few in that time.
 * BERTH_SIM_SEED, BERTH_SIM_NO_SHRINK: see ../explore.ts.
 */
const { BERTH_SOAK_SECONDS, BERTH_SIM_RUNS } = process.env;
const budgetMs = Number(BERTH_SOAK_SECONDS ?? 20) * 1_000;
/** None when the time to search is given, as by `npm run fast`. */
const leastRuns = Number(BERTH_SIM_RUNS ?? (BERTH_SOAK_SECONDS === undefined ? 2_000 : 0));

test(
  'no host writes to a volume that another may hold, and nothing is stuck',
  () =>
    explore({
      ...{ what: 'fencing', scenarios, limitMs: budgetMs, leastRuns },
      ...{ play, violationsOf, describe: describeHistory },
    }),
  budgetMs + 300_000 + 250 * leastRuns,
);

test('the simulation plays a scenario in the same way each time', async () => {
  const sample = fc.sample(scenarios, { seed: 1, numRuns: 20 });
  await expectRepeatable(sample, trace);
});

test('the simulation produces every kind of event', async () => {
  const kinds = new Set<string>();
  for (const scenario of fc.sample(scenarios, { seed: 2, numRuns: 200 })) {
    for (const event of await play(scenario)) {
      kinds.add(event.kind);
      if (event.kind === 'stopped') kinds.add(event.how);
      if (event.kind === 'claimed') kinds.add(`${event.is}`);
      if (event.kind === 'file system') kinds.add(event.is);
      if (event.kind === 'told') kinds.add(event.state);
    }
  }
  expect([...kinds].sort()).toEqual(everyKind);
});

const everyKind = [
  ...[
    'appeared',
    'calm',
    'claimed',
    'copied',
    'copying',
    'ended',
    'engine',
    'excused',
    'fault',
    'file system',
  ],
  ...[
    'finished',
    'granted',
    'let run',
    'mounted',
    'person',
    'removed',
    'sleeps',
    'still',
    'stopped',
  ],
  ...['told', 'unmounted', 'writing'],
  // How users are stopped, and what the sentinel says of volumes.
  ...['frozen', 'held', 'killed', 'running', 'fenced', 'undefined'],
  // States of file systems and of locks.
  ...['open', 'flushed', 'freezing', 'cut off', 'unproven', 'lost', 'evicted'],
].sort();

function play(scenario: Scenario): Promise<HistoryEvent[]> {
  return simulate(scenario, (ports) => new Sentinel(ports));
}

async function trace(scenario: Scenario): Promise<string> {
  return describeHistory(await play(scenario));
}
