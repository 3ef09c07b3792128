import { spawn } from 'node:child_process';
import { constants } from 'node:os';

/** How a command ended. */
export interface CommandEnd {
  /** Its own, or 128 + the signal's number, as a shell has it. */
  readonly exitCode: number;
  /** Why it could not be started. */
  readonly error?: string;
}

export interface HeldCommand {
  readonly ended: Promise<CommandEnd>;
  /** SIGTERM, and SIGKILL if it has not ended after 10 s. */
  end(): Promise<void>;
}

const killAfterMs = 10_000;

const forwarded = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;

/** Starts a command on our own terminal and passes signals on to it, until it has ended. */
export function startCommand(
  [file = '', ...args]: readonly string[],
  env: NodeJS.ProcessEnv,
): HeldCommand {
  // Before the start: a signal that comes in between would end us, and leave the command to itself.
  const pass = (signal: NodeJS.Signals) => {
    // A terminal sends its own to the whole foreground group; twice would mean "at once" to many.
    const isFromTerminal = process.stdin.isTTY && (signal === 'SIGINT' || signal === 'SIGQUIT');
    if (!isFromTerminal) child.kill(signal);
  };
  for (const signal of forwarded) process.on(signal, pass);
  const child = spawn(file, args, { stdio: 'inherit', env });

  const { promise: ended, resolve } = Promise.withResolvers<CommandEnd>();
  child.once('error', (error) => {
    // The shell's own codes: 127 not found, 126 found and not to be run.
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
