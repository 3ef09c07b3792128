import { Command, CommanderError } from 'commander';
import { release } from '../plugin/config/release.ts';
import { settings, variableOf } from '../plugin/config/settings.ts';
import { AdminClient } from './admin-client.ts';
import { copyCommand } from './commands/copy.ts';
import { doctorCommand } from './commands/doctor.ts';
import { eventsCommand } from './commands/events.ts';
import { lockCommands } from './commands/lock.ts';
import { serve, serveCommand } from './commands/serve.ts';
import { snapshotCommands } from './commands/snapshot.ts';
import { statusCommand } from './commands/status.ts';
import { volumeCommands } from './commands/volume.ts';
import type { CliIo, Context, Run } from './context.ts';
import { exitCodes } from './exit-code.ts';
import type { Explanation } from './explain.ts';
import { explain } from './explain.ts';
import { visible } from './format.ts';

const exitCodeHelp = `
Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 held by another,
5 daemon or store unavailable.
`;

/** Runs one command line, without the program's name; resolves to its exit code. */
export async function runCli(argv: readonly string[], io: CliIo): Promise<number> {
  // The flags of `serve` are the daemon's settings, which commander does not know.
  if (argv[0] === 'serve') return serve(argv.slice(1), io);
  let exitCode: number = exitCodes.ok;
  const run: Run = async (options, volume, work) => {
    const json = options.json ?? false;
    const socketPath = options.adminSocket ?? defaultSocket(io);
    const context: Context = {
      ...io,
      client: new AdminClient(socketPath),
      json,
      print: (result, human) =>
        io.stdout.write(json ? `${JSON.stringify(result, null, 2)}\n` : visible(human(result))),
    };
    try {
      const code = (await work(context)) ?? exitCodes.ok;
      exitCode ||= code;
    } catch (error) {
      const explanation = explain(error, volume);
      if (explanation === undefined) throw error;
      exitCode ||= explanation.exitCode; // A command may do several pieces of work: the first failure counts.
      io.stderr.write(json ? asJson(explanation) : visible(asText(explanation)));
    }
  };
  const root = new Command('berth')
    .description('Docker volumes that only one host can use at a time')
    .version(
      release,
      '--version',
      'show the release of this command; status shows that of the daemon',
    )
    .addHelpText('after', exitCodeHelp)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
    });
  serveCommand(root);
  statusCommand(root, run);
  volumeCommands(root, run);
  snapshotCommands(root, run);
  copyCommand(root, run);
  lockCommands(root, run);
  eventsCommand(root, run);
  doctorCommand(root, run);
  try {
    await root.parseAsync([...argv], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Commander has printed the error. Requested help ends with 0, help for a missing command does
    // not.
    return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  }
  return exitCode;
}

function defaultSocket({ env }: CliIo): string {
  return env[variableOf(settings.adminSocket)] || settings.adminSocket.default || '';
}

function asText({ message, next }: Explanation): string {
  return [`berth: ${message}\n`, ...next.map((line) => `  ${line}\n`)].join('');
}

function asJson({ message, next, failure }: Explanation): string {
  const error = { code: 'unavailable', message, ...failure, next };
  return `${JSON.stringify({ error })}\n`;
}
