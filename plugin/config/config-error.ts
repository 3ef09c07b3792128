/** One setting that can't be used as it is. */
export interface ConfigProblem {
  /** What was given: `--ttl`, `BERTH_TTL`, `host (the machine's name)`. */
  readonly setting: string;
  readonly value?: string | undefined;
  /** What is wrong, or what is allowed instead. */
  readonly hint: string;
}

/** At least one setting is wrong; the message names all of them. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly problems: readonly ConfigProblem[];
  constructor(problems: readonly ConfigProblem[]) {
    const count = problems.length === 1 ? 'a setting is' : `${problems.length} settings are`;
    super(`${count} wrong:\n${problems.map((problem) => `  ${describe(problem)}`).join('\n')}`);
    this.problems = problems;
  }
}

function describe({ setting, value, hint }: ConfigProblem): string {
  return value === undefined
    ? `${setting} ${hint}`
    : `${setting} ${JSON.stringify(value)}: ${hint}`;
}
