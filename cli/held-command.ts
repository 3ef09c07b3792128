import { spawn } from 'node:child_process';
import { accessSync, constants as modes, statSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Job } from '../lib/linux/job.ts';
import { openJob, tiedToThisProcess } from '../lib/linux/job.ts';

/** The result of a command. */
export interface CommandEnd {
  /** The command's exit code, or 128 + the signal's number, as in a shell. */
  readonly exitCode: number;
  /** The reason why the command could not be started. */
  readonly error?: string;
}

export interface HeldCommand {
  /** Resolves when the command, and all that it has started, have ended. */
  readonly ended: Promise<CommandEnd>;
  /** Sends SIGTERM to all of them, and SIGKILL to those that have not ended after `killAfterMs`, 10 s by default. */
  end(killAfterMs?: number): Promise<void>;
}

export interface CommandOptions {
  readonly env: NodeJS.ProcessEnv;
  /** The descriptor of the connection that holds the lock, if one does: the command and what it starts keep it open. */
  readonly connection?: number;
  /** Called when the command has ended and processes that it has started have not. */
  readonly onLeft: (pids: readonly number[]) => void;
}

const defaultKillAfterMs = 10_000;
const pollMs = 20;

/** The command's descriptor of the connection: above those that scripts use by number. */
const connectionAt = 10;

const forwarded = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;

/** Starts a command on this process's terminal and passes signals on to it until it has ended. */
export async function startCommand(
  command: readonly string[],
  options: CommandOptions,
): Promise<HeldCommand> {
  const problem = problemOf(command[0] ?? '', options.env.PATH ?? '');
  if (problem) return { ended: Promise.resolve(problem), end: async () => {} };
  const tie = tiedToThisProcess(options.env);
  const job = await openJob();
  const { promise: exited, resolve } = Promise.withResolvers<CommandEnd>();
  let hasExited = false;
  let child: ReturnType<typeof spawn> | undefined;
  // Listen before the start: a signal in between would end this process and not the command.
  const pass = (signal: NodeJS.Signals) => {
    // A terminal signals the whole foreground group itself; many programs take a second one for "at
    // once".
    const isFromTerminal = process.stdin.isTTY && (signal === 'SIGINT' || signal === 'SIGQUIT');
    if (hasExited) job.signal(signal);
    else if (!isFromTerminal) child?.kill(signal);
  };
  for (const signal of forwarded) process.on(signal, pass);
  job.start(() => {
    const [file = '', ...args] = [...tie, ...command];
    const unused = Array.from({ length: connectionAt - 3 }, () => 'ignore' as const);
    const { connection } = options;
    const inherited = connection === undefined ? [] : [...unused, connection];
    const stdio = ['inherit', 'inherit', 'inherit', ...inherited] as const;
    child = spawn(file, args, { stdio: [...stdio], env: options.env });
    child.once('error', (error) =>
      resolve({ exitCode: 126, error: `can't run ${command[0]}: ${error.message}` }),
    );
    child.once('exit', (code, signal) => {
      hasExited = true;
      resolve({ exitCode: code ?? 128 + (signal === null ? 0 : constants.signals[signal]) });
    });
    return child.pid;
  });
  const done = exited
    .then(async (end) => {
      await allEnded(job, options.onLeft);
      return end;
    })
    .finally(() => {
      for (const signal of forwarded) process.off(signal, pass);
      job[Symbol.dispose]();
    });
  return {
    ended: done,
    async end(killAfterMs = defaultKillAfterMs) {
      job.signal('SIGTERM');
      const over = new AbortController();
      const killing = delay(killAfterMs, undefined, { signal: over.signal }).then(
        () => job.kill(),
        () => {}, // All have ended before.
      );
      await Promise.race([done, killing.then(() => done)]);
      over.abort();
      await killing;
    },
  };
}

async function allEnded(job: Job, onLeft: CommandOptions['onLeft']): Promise<void> {
  let isTold = false;
  const tellAt = performance.now() + 500;
  for (let left = job.processes(); left.length > 0; left = job.processes()) {
    if (!isTold && performance.now() > tellAt) {
      isTold = true;
      onLeft(left);
    }
    await delay(pollMs);
  }
}

/** Returns why a shell would not start a file, with its code: 127 if it is not found, 126 if it can't be executed. */
function problemOf(file: string, path: string): CommandEnd | undefined {
  const places = file.includes('/') ? [file] : path.split(delimiter).map((at) => join(at, file));
  const found = places.filter(isFile);
  if (file === '' || found.length === 0) {
    return { exitCode: 127, error: `can't run ${file}: there is no such program` };
  }
  if (found.some(mayExecute)) return undefined;
  return { exitCode: 126, error: `can't run ${file}: it may not be executed` };
}

function isFile(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
  } catch {
    return false; // A directory of PATH that this user may not enter: a shell passes over it, too.
  }
}

function mayExecute(path: string): boolean {
  try {
    accessSync(path, modes.X_OK);
    return true;
  } catch {
    return false; // Not allowed: the caller says so.
  }
}
