import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import type { StoodStill } from '../plugin/admin/api/snapshots.ts';
import { duration } from '../plugin/config/setting-values.ts';
import { holdLimit, settings } from '../plugin/config/settings.ts';
import type { CommonOptions } from './context.ts';

export interface CopyOptions extends CommonOptions {
  readonly live?: boolean;
  readonly holdLimit?: number;
  readonly before?: string;
  readonly after?: string;
  readonly in?: string;
  readonly commandLimit?: number;
}

const oneHoldLimit = durationWithin(holdLimit);
const commandLimit = durationWithin({
  minMs: 100,
  maxMs: 3_600_000,
  allowed: 'use 100ms to 1h, such as 5m',
});

/** Adds the options of every command that copies a volume which may be in use. */
export function withCopyOptions(command: Command): Command {
  return command
    .option(
      '--hold-limit <duration>',
      `how long the volume's containers stand still at most (default: the daemon's hold-limit, ${settings.holdLimit.default})`,
      oneHoldLimit,
    )
    .option('--before <command>', 'a command in the container that uses the volume: flush, lock')
    .option('--after <command>', 'a command that undoes it, also if the copy has failed')
    .option('--in <container>', 'the container of these commands, if several use the volume')
    .option(
      '--command-limit <duration>',
      'how long each of these commands may take (default: 1m)',
      commandLimit,
    )
    .option('--live', 'let the containers write on: the copy is not of one moment, and says so');
}

/** Returns what the daemon has to know of the options. */
export function copyInUse(options: CopyOptions) {
  const { live, holdLimit: holdLimitMs, before, after, in: container, commandLimit } = options;
  // JSON leaves out an option that was not given.
  return { live, holdLimitMs, before, after, container, commandLimitMs: commandLimit };
}

/** Returns a sentence about the containers that stood still; empty if none had to. */
export function stoodStillText({ stoodStillMs }: StoodStill): string {
  return stoodStillMs === undefined ? '' : `its containers stood still for ${stoodStillMs} ms\n`;
}

/** Returns the parser of an option that takes a duration. */
function durationWithin(limits: typeof holdLimit): (text: string) => number {
  const schema = duration(limits);
  return (text) => {
    const parsed = schema.safeParse(text);
    if (!parsed.success) throw new InvalidArgumentError(`${limits.allowed}.`);
    return parsed.data;
  };
}
