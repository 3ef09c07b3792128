import fc from 'fast-check';

/** A simulation, as the search for scenarios that break one of its laws needs it. */
export interface Exploration<Scenario, Event> {
  /** The name of what is simulated, for the printed number of runs. */
  readonly what: string;
  readonly scenarios: fc.Arbitrary<Scenario>;
  readonly limitMs: number;
  /** The search goes on beyond the limit until so many scenarios were played, on a busy machine. */
  readonly leastRuns?: number;
  play(scenario: Scenario): Promise<Event[]>;
  violationsOf(history: Event[]): readonly { readonly at: number; readonly message: string }[];
  describe(history: Event[]): string;
}

/** The seed of `npm test`: a commit is tested in the same way each time. */
const fixedSeed = 1;

/**
 * Plays random scenarios for as long as it may and prints their number. Throws with the smallest
 * scenario that breaks a law, its history, and the seed that repeats it. The scenarios are the same
 * each time, unless the time to search is given.
 *
 * BERTH_SOAK_SECONDS: the time to search is given; the seed is a new one.
 * BERTH_SIM_SEED: the scenario to repeat, as a failure printed it; choose its test with -t.
 * BERTH_SIM_NO_SHRINK: report a failure without making it smaller first.
 */
export async function explore<Scenario, Event>(
  exploration: Exploration<Scenario, Event>,
): Promise<void> {
  const { what, scenarios, limitMs, leastRuns = 0, play, violationsOf, describe } = exploration;
  const { BERTH_SIM_SEED, BERTH_SIM_NO_SHRINK, BERTH_SOAK_SECONDS } = process.env;
  const [seed, path] = BERTH_SIM_SEED?.split('/') ?? [];
  const endOnFailure = BERTH_SIM_NO_SHRINK !== undefined;
  let runs = 0;
  const property = fc.asyncProperty(scenarios, async (scenario) => {
    runs += 1;
    const [violation] = violationsOf(await play(scenario));
    if (violation) throw new Error(violation.message);
  });
  const limit = { interruptAfterTimeLimit: limitMs, markInterruptAsFailure: false };
  const start = BERTH_SOAK_SECONDS === undefined ? { seed: fixedSeed } : {};
  const range =
    seed === undefined ? { ...limit, ...start } : { seed: Number(seed), path: path ?? '' };
  let details = await fc.check(property, { numRuns: 10_000_000, endOnFailure, ...range });
  if (!details.failed && seed === undefined && runs < leastRuns) {
    const more = { numRuns: leastRuns - runs, seed: details.seed + 1 };
    details = await fc.check(property, { ...more, endOnFailure });
  }
  process.stdout.write(`${runs} simulated runs of ${what}\n`);
  const scenario = details.counterexample?.[0];
  if (!details.failed || !scenario) return;
  const history = await play(scenario);
  throw new Error(
    [
      describe(history),
      `commands (${details.numShrinks} times made smaller): ${JSON.stringify(scenario)}`,
      ...violationsOf(history).map(({ at, message }) => `at ${at.toFixed(2)}: ${message}`),
      `repeat with BERTH_SIM_SEED=${details.seed}/${details.counterexamplePath}`,
    ].join('\n'),
  );
}
