/**
 * Plays so many scenarios and prints each that breaks a law, and goes on:
 *
 *     node test/simulation/fencing/soak.ts [RUNS [FIRST-SEED]]
 *
 * Each thousand runs has a seed of its own. The line of a violation says how to repeat it, made
 * smaller, with its history.
 */
import fc from 'fast-check';
import { Sentinel } from '../../../sentinel/sentinel.ts';
import { violationsOf } from './check-history.ts';
import { scenarios } from './scenarios.ts';
import { simulate } from './simulation.ts';

const runsPerSeed = 1_000;
const [runs = '100000', first = `${Date.now() % 1_000_000}`] = process.argv.slice(2);
const began = performance.now();
let played = 0;
let broken = 0;
for (let seed = Number(first); played < Number(runs); seed += 1) {
  for (const [index, scenario] of fc.sample(scenarios, { seed, numRuns: runsPerSeed }).entries()) {
    const [violation] = violationsOf(await simulate(scenario, (ports) => new Sentinel(ports)));
    played += 1;
    if (!violation) continue;
    broken += 1;
    say(`VIOLATION BERTH_SIM_SEED=${seed}/${index} at ${violation.at}: ${violation.message}`);
  }
  const ms = (performance.now() - began) / played;
  say(`${played} runs up to seed ${seed}, ${broken} violations, ${ms.toFixed(1)} ms each`);
}
process.exitCode = broken > 0 ? 1 : 0;

function say(line: string): void {
  process.stdout.write(`${new Date().toISOString()} ${line}\n`);
}
