// Starts, watches and ends the processes of a test.
import { spawn } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { constants } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';

export interface ProcessOptions {
  readonly cwd?: string;
  /** Added to the environment of the test; undefined: removed from it. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** The standard input; empty by default. */
  readonly input?: string;
}

export interface FinishedProcess {
  readonly stdout: string;
  readonly stderr: string;
  /**
   * The exit code as a shell reports it: 128 plus the signal's number if a signal ended the
   * process.
   */
  readonly code: number;
}

export interface RunningProcess extends AsyncDisposable {
  readonly pid: number;
  readonly hasExited: boolean;
  /** Resolves when the process has ended and its output is complete. */
  readonly finished: Promise<FinishedProcess>;
  /** Returns standard output and error so far, in the order of arrival. */
  output(): string;
  kill(signal: NodeJS.Signals): void;
  /**
   * Sends SIGTERM, and SIGKILL if the process still runs after `limitMs`. Also ends a paused
   * process.
   */
  stop(limitMs?: number): Promise<void>;
}

export interface StartOptions extends ProcessOptions {
  /** The signal that the kernel sends when the test process dies before it has stopped this one. */
  readonly orphanSignal?: NodeJS.Signals;
}

export function startProcess(
  command: string,
  args: readonly string[],
  options: StartOptions = {},
): RunningProcess {
  const { orphanSignal = 'SIGKILL', input = '', cwd, env } = options;
  const child = spawn('setpriv', ['--pdeathsig', orphanSignal.slice(3), command, ...args], {
    env: { ...process.env, ...env },
    ...(cwd === undefined ? {} : { cwd }),
  });
  const stdout: Buffer[] = [];
  const all: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => all.push(chunk) && stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => all.push(chunk) && stderr.push(chunk));
  // A process may end before it has read its input.
  child.stdin.on('error', () => {});
  child.stdin.end(input);

  const finished = new Promise<FinishedProcess>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) =>
      resolve({
        stdout: Buffer.concat(stdout).toString(),
        stderr: Buffer.concat(stderr).toString(),
        code: code ?? 128 + signalNumber(signal),
      }),
    );
  });
  // Callers that await it still see the rejection; otherwise it must not end the test run.
  finished.catch(() => {});
  const exited = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
  const { pid } = child;
  if (pid === undefined) {
    throw new Error(`cannot start ${command}: is setpriv (util-linux) installed?`);
  }
  const hasExited = () => child.exitCode !== null || child.signalCode !== null;

  async function stop(limitMs = 5_000): Promise<void> {
    if (hasExited()) return;
    child.kill('SIGTERM');
    child.kill('SIGCONT');
    const limit = new AbortController();
    await Promise.race([exited, delay(limitMs, undefined, { signal: limit.signal })]);
    limit.abort();
    if (hasExited()) return;
    child.kill('SIGKILL');
    await exited;
  }

  return {
    pid,
    finished,
    stop,
    get hasExited() {
      return hasExited();
    },
    output: () => Buffer.concat(all).toString(),
    kill: (signal) => {
      child.kill(signal);
    },
    [Symbol.asyncDispose]: () => stop(),
  };
}

export async function runProcess(
  command: string,
  args: readonly string[],
  options: ProcessOptions = {},
): Promise<FinishedProcess> {
  await using running = startProcess(command, args, options);
  return await running.finished;
}

/** Runs a command that must succeed; returns its standard output, trimmed. */
export async function runOk(
  command: string,
  args: readonly string[],
  options: ProcessOptions = {},
): Promise<string> {
  return succeeded([command, ...args], await runProcess(command, args, options));
}

export function succeeded(commandLine: readonly string[], result: FinishedProcess): string {
  if (result.code !== 0) {
    throw new Error(
      `${commandLine.join(' ')} failed with code ${result.code}: ${result.stderr.trim() || result.stdout.trim()}`,
    );
  }
  return result.stdout.trim();
}

/**
 * Returns the pause until the next check: twice the time that the last one took, so that checks which
 * start a process leave most of a core to others.
 */
export function pauseAfter(checkMs: number, leastMs: number): number {
  return Math.max(leastMs, Math.min(250, 2 * checkMs));
}

/** The factor by which each wait limit is lengthened: a busy machine is that much slower. */
export const patience = 5;

/**
 * Repeats `condition` until it returns a truthy value and returns that. A throw counts as not met
 * yet. `timeoutMs` is the time that a quiet machine needs at most, and is multiplied by `patience`:
 * a wait detects what hangs, and asserts no speed.
 */
export async function waitFor<T>(
  condition: () => T | Promise<T>,
  timeoutMs: number,
  what: string,
): Promise<Exclude<T, false | 0 | '' | null | undefined>> {
  const deadline = performance.now() + timeoutMs * patience;
  let cause: unknown;
  for (;;) {
    const askedAt = performance.now();
    try {
      const answer = await condition();
      if (answer) return answer as Exclude<T, false | 0 | '' | null | undefined>;
      cause = undefined;
    } catch (error) {
      cause = error;
    }
    if (performance.now() >= deadline) {
      throw new Error(`gave up waiting for ${what} after ${timeoutMs * patience} ms`, { cause });
    }
    await delay(pauseAfter(performance.now() - askedAt, 20));
  }
}

/**
 * Returns distinct TCP ports on which nothing listens. They are below the range that the kernel
 * takes for outgoing connections, so a server that is killed and started again finds its port still
 * free.
 */
export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const port = 10_000 + Math.floor(Math.random() * 22_000);
    if (await isFree(port)) ports.add(port);
  }
  return [...ports];
}

export async function freePort(): Promise<number> {
  const [port = 0] = await freePorts(1);
  return port;
}

export async function openDescriptors(pid: number): Promise<number> {
  return (await readdir(`/proc/${pid}/fd`)).length;
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

function signalNumber(signal: NodeJS.Signals | null): number {
  return signal === null ? 0 : constants.signals[signal];
}
