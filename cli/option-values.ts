import { InvalidArgumentError } from 'commander';

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
