/** A setting whose value is not allowed. */
export interface ConfigProblem {
  /** The source of the value: `--ttl`, `BERTH_TTL`, `host (the machine's name)`. */
  readonly setting: string;
  readonly value?: string | undefined;
  /** The fault, or the values that are allowed. */
  readonly hint: string;
}

/** The error for one or more wrong settings; the message names all of them. */
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
