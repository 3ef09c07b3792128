import type { Command } from 'commander';
import { settings, variableOf } from '../plugin/config/settings.ts';

/** Adds the options of every command that asks the daemon. */
export function withCommonOptions(command: Command): Command {
  const { default: socket, help } = settings.adminSocket;
  return command
    .option('--json', 'print JSON')
    .option(
      '--admin-socket <path>',
      `${help} (${variableOf(settings.adminSocket)}, default ${socket})`,
    );
}
