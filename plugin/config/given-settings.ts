import { closestName } from './closest-name.ts';
import type { ConfigProblem } from './config-error.ts';
import { allSettings, flagOf, variableOf } from './settings.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** The text of one setting. */
export interface Given {
  /** The flag or variable that gave the value, as a person knows it. */
  readonly source: string;
  readonly value: string;
}

/**
 * Reads the command line, by setting. Any argument that is not a flag with its value becomes a
 * problem.
 */
export function readFlags(argv: readonly string[], problems: ConfigProblem[]): Map<string, Given> {
  const given = new Map<string, Given>();
  for (let i = 0; i < argv.length; i++) {
    const argument = argv[i] ?? '';
    const [flag, inline] = splitFlag(argument);
    const setting = allSettings.find((row) => flagOf(row) === flag);
    if (setting === undefined) {
      problems.push(unknown(argument.startsWith('-') ? flag : argument, allSettings.map(flagOf)));
      // The next word is most likely the value of the mistyped flag.
      if (inline === undefined && argument.startsWith('--') && isValue(argv[i + 1])) i++;
      continue;
    }
    const next = argv[i + 1];
    const word = inline ?? (isValue(next) ? next : undefined);
    const value = word ?? setting.alone;
    if (value === undefined) {
      problems.push({ setting: flag, hint: `needs a value: ${flag} ${setting.placeholder}` });
      continue;
    }
    if (inline === undefined && word !== undefined) i++;
    given.set(setting.name, { source: flag, value });
  }
  return given;
}

function splitFlag(argument: string): [flag: string, value: string | undefined] {
  const equals = argument.indexOf('=');
  if (!argument.startsWith('--') || equals < 0) return [argument, undefined];
  return [argument.slice(0, equals), argument.slice(equals + 1)];
}

function isValue(argument: string | undefined): argument is string {
  return argument !== undefined && !argument.startsWith('--');
}

/** Reads the `BERTH_*` variables, by setting. An unknown variable becomes a problem. */
export function readEnvironment(env: Environment, problems: ConfigProblem[]): Map<string, Given> {
  const given = new Map<string, Given>();
  for (const [variable, value] of Object.entries(env)) {
    if (!variable.startsWith('BERTH_') || notOurs.has(variable)) continue;
    const setting = allSettings.find((row) => variableOf(row) === variable);
    if (setting === undefined) problems.push(unknown(variable, allSettings.map(variableOf)));
    else if (value) given.set(setting.name, { source: variable, value });
  }
  return given;
}

/** Variables that `berth lock run` sets for its command, which may start a daemon. */
const notOurs: ReadonlySet<string> = new Set(['BERTH_LOCK_TOKEN']);

function unknown(setting: string, known: readonly string[]): ConfigProblem {
  const meant = closestName(setting, known);
  if (meant !== undefined) return { setting, hint: `is not known; did you mean ${meant}?` };
  return { setting, hint: 'is not known; berth serve --help lists the settings' };
}
