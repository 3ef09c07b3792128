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

/**
 * Plays random scenarios for as long as it may and prints their number. Throws with the smallest
 * scenario that breaks a law, its history, and the seed that repeats it.
 *
 * BERTH_SIM_SEED: the scenario to repeat, as a failure printed it; choose its test with -t.
 * BERTH_SIM_NO_SHRINK: report a failure without making it smaller first.
 */
export async function explore<Scenario, Event>(
  exploration: Exploration<Scenario, Event>,
): Promise<void> {
  const { what, scenarios, limitMs, leastRuns = 0, play, violationsOf, describe } = exploration;
  const { BERTH_SIM_SEED, BERTH_SIM_NO_SHRINK } = process.env;
  const [seed, path] = BERTH_SIM_SEED?.split('/') ?? [];
  const endOnFailure = BERTH_SIM_NO_SHRINK !== undefined;
  let runs = 0;
  const property = fc.asyncProperty(scenarios, async (scenario) => {
    runs += 1;
    const [violation] = violationsOf(await play(scenario));
    if (violation) throw new Error(violation.message);
  });
  const limit = { interruptAfterTimeLimit: limitMs, markInterruptAsFailure: false };
  const range = seed === undefined ? limit : { seed: Number(seed), path: path ?? '' };
  let details = await fc.check(property, { numRuns: 10_000_000, endOnFailure, ...range });
  if (!details.failed && seed === undefined && runs < leastRuns) {
    details = await fc.check(property, { numRuns: leastRuns - runs, endOnFailure });
  }
  process.stdout.write(`${runs} simulated runs of ${what}\n`);
  const scenario = details.counterexample?.[0];
  if (!details.failed || !scenario) return;
  const history = await play(scenario);
  throw new Error(
    [
      ...violationsOf(history).map(({ at, message }) => `at ${at.toFixed(2)}: ${message}`),
      `commands (${details.numShrinks} times made smaller): ${JSON.stringify(scenario)}`,
      `repeat with BERTH_SIM_SEED=${details.seed}/${details.counterexamplePath}`,
      describe(history),
    ].join('\n'),
  );
}
