import type { Command } from 'commander';
import { settingsHelp } from '../../plugin/config/settings.ts';
import type { CliIo } from '../context.ts';

/** Adds `serve` to the list of commands; program.ts passes its arguments on unparsed. */
export function serveCommand(root: Command): void {
  root
    .command('serve')
    .description('run the daemon in the foreground; berth serve --help lists its settings');
}

/** Runs the daemon in this process until a signal stops it. */
export async function serve(argv: readonly string[], { stdout }: CliIo): Promise<number> {
  if (argv.includes('--help') || argv.includes('-h')) {
    stdout.write(
      'Usage: berth serve [settings]\n\n' +
        'Each setting is a flag or an environment variable: --state-dir is BERTH_STATE_DIR.\n' +
        `A flag wins. DEBUG=berth:* shows what the daemon does.\n\n${settingsHelp()}`,
    );
    return 0;
  }
  // Imported only here, because the other commands start three times as fast without it.
  const { main } = await import('../../plugin/main.ts');
  return main(argv);
}
