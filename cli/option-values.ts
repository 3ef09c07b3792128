import { InvalidArgumentError } from 'commander';
import { parseDuration } from '../plugin/config/setting-values.ts';

/** Options of a volume, by name. */
export type Given = Readonly<Record<string, string>>;

/** Adds one `NAME=VALUE` to those before it. */
export function collectOptions(argument: string, before: Given | undefined): Given {
  const at = argument.indexOf('=');
  if (at <= 0) throw new InvalidArgumentError('use NAME=VALUE, like access=host');
  const name = argument.slice(0, at);
  if (before && Object.hasOwn(before, name)) {
    throw new InvalidArgumentError(`${name} is given twice`);
  }
  return { ...before, [name]: argument.slice(at + 1) };
}

/** Returns the milliseconds of an option like `30s`. */
export function duration(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined || ms > 86_400_000) {
    throw new InvalidArgumentError('Use 0s to 24h, like 30s or 5m.');
  }
  return ms;
}
