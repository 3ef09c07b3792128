import { spawn } from 'node:child_process';
import { constants } from 'node:os';

/** The result of a command. */
export interface CommandEnd {
  /** The command's exit code, or 128 + the signal's number, as in a shell. */
  readonly exitCode: number;
  /** The reason why the command could not be started. */
  readonly error?: string;
}

export interface HeldCommand {
  readonly ended: Promise<CommandEnd>;
  /** Sends SIGTERM, and SIGKILL if the command has not ended after 10 s. */
  end(): Promise<void>;
}

const killAfterMs = 10_000;

const forwarded = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;

/** Starts a command on this process's terminal and passes signals on to it until it has ended. */
export function startCommand(
  [file = '', ...args]: readonly string[],
  env: NodeJS.ProcessEnv,
): HeldCommand {
  // Listen before the start: a signal in between would end this process and not the command.
  const pass = (signal: NodeJS.Signals) => {
    // A terminal signals the whole foreground group itself; many programs take a second one for "at
    // once".
    const isFromTerminal = process.stdin.isTTY && (signal === 'SIGINT' || signal === 'SIGQUIT');
    if (!isFromTerminal) child.kill(signal);
  };
  for (const signal of forwarded) process.on(signal, pass);
  const child = spawn(file, args, { stdio: 'inherit', env });

  const { promise: ended, resolve } = Promise.withResolvers<CommandEnd>();
  child.once('error', (error) => {
    // The codes of a shell: 127 if the file is not found, 126 if it can't be executed.
    const exitCode = 'code' in error && error.code === 'ENOENT' ? 127 : 126;
    resolve({ exitCode, error: `can't run ${file}: ${error.message}` });
  });
  child.once('exit', (code, signal) => {
    resolve({ exitCode: code ?? 128 + (signal === null ? 0 : constants.signals[signal]) });
  });
  const done = ended.finally(() => {
    for (const signal of forwarded) process.off(signal, pass);
  });
  return {
    ended: done,
    async end() {
      child.kill('SIGTERM');
      const kill = setTimeout(() => child.kill('SIGKILL'), killAfterMs);
      try {
        await done;
      } finally {
        clearTimeout(kill);
      }
    },
  };
}
