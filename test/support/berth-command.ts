import { runCli } from '../../cli/program.ts';

export interface CommandResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs one command line of the berth command in this process, against an admin socket. */
export async function runBerth(
  commandLine: string,
  { path, isTTY = false }: { readonly path: string; readonly isTTY?: boolean },
): Promise<CommandResult> {
  const written = { stdout: '', stderr: '' };
  const output = (name: keyof typeof written) => ({
    isTTY,
    write(text: string) {
      written[name] += text;
    },
  });
  const exitCode = await runCli(commandLine.split(' '), {
    env: { BERTH_ADMIN_SOCKET: path },
    stdout: output('stdout'),
    stderr: output('stderr'),
  });
  return { exitCode, ...written };
}
