// `berth lock serve` as a process, and curl as its client.
import { join } from 'node:path';
import type { OpenedLocks } from '../../lib/lock/open/open-locks.ts';
import { openLocks } from '../../lib/lock/open/open-locks.ts';
import { repository } from './berth.ts';
import type { RunningProcess, StartOptions } from './processes.ts';
import { runProcess, startProcess, waitFor } from './processes.ts';
import type { TemporaryDirectory } from './temporary-directory.ts';
import { makeTemporaryDirectory } from './temporary-directory.ts';

export interface LockServerProcess extends AsyncDisposable {
  readonly process: RunningProcess;
  readonly url: string;
}

/** How the server and its clients are started: on this machine, or on another one. */
export type Start = (
  command: string,
  args: readonly string[],
  options?: StartOptions,
) => RunningProcess;

/** Starts a lock server on a free port of the loopback, and waits until it serves. */
export async function startLockServer(
  store: string,
  flags: readonly string[] = [],
  start: Start = startProcess,
): Promise<LockServerProcess> {
  const listen = flags.includes('--listen') ? [] : ['--listen', '127.0.0.1:0'];
  const args = ['lock', 'serve', '--store', store, ...listen, ...flags];
  const process = start(join(repository, 'bin/berth'), args);
  const served = () => /serving locks on (\S+)/.exec(process.output())?.[1];
  await waitFor(() => process.hasExited || served(), 20_000, 'the lock server to serve');
  const url = served();
  if (url === undefined) throw new Error(`the lock server has ended: ${process.output()}`);
  return { process, url, [Symbol.asyncDispose]: () => process[Symbol.asyncDispose]() };
}

/** A lock server on a file in a directory of its own, and host n2 with the lock library on the same file. */
export interface ServedFile {
  readonly directory: TemporaryDirectory;
  readonly file: string;
  readonly library: OpenedLocks;
  readonly url: string;
}

/** Starts both; `stack` ends them. */
export async function serveFile(stack: AsyncDisposableStack): Promise<ServedFile> {
  const directory = stack.use(await makeTemporaryDirectory());
  const file = join(directory.path, 'locks.db');
  const library = stack.use(await openLocks(file, { host: 'n2', reason: 'Deploy' }));
  const { url } = stack.use(await startLockServer(file));
  return { directory, file, library, url };
}

/** One line of the server, or the body of a refusal. */
export interface Line {
  readonly event?: string;
  readonly token?: number;
  readonly maxSilenceMs?: number;
  readonly message?: string;
  readonly holders?: readonly { readonly host: string; readonly token: number }[];
  readonly more?: number;
  readonly error?: { readonly code: string; readonly message: string };
}

/** A curl that asks for a lock and prints the answer's lines as they come. */
export interface HoldingCurl extends AsyncDisposable {
  readonly process: RunningProcess;
  lines(): Line[];
  /** Waits for a line with this event, and returns the first. */
  line(event: string): Promise<Line>;
}

export function holdByCurl(
  url: string,
  name: string,
  body: object = {},
  { start = startProcess, flags = [] }: { start?: Start; flags?: readonly string[] } = {},
): HoldingCurl {
  const data = ['--no-buffer', '--silent', '--show-error', '--data', JSON.stringify(body)];
  const process = start('curl', [...flags, ...data, `${url}/v1/locks/${name}`]);
  const lines = () => {
    const whole = process.output().split('\n').slice(0, -1);
    return whole.map((line): Line => JSON.parse(line));
  };
  return {
    process,
    lines,
    async line(event) {
      const found = () => lines().find((each) => each.event === event);
      await waitFor(() => found() ?? process.hasExited, 20_000, `a line ${event}`);
      const line = found();
      if (line === undefined) throw new Error(`no line ${event}, but ${process.output()}`);
      return line;
    },
    [Symbol.asyncDispose]: () => process[Symbol.asyncDispose](),
  };
}

/** Sends one request by curl; returns its status and the JSON of the answer. */
export async function curl(
  url: string,
  ...flags: readonly string[]
): Promise<{ readonly status: number; readonly body: Line & Record<string, unknown> }> {
  const format = ['--write-out', '\n%{http_code}', '--silent', '--show-error'];
  const { stdout, stderr } = await runProcess('curl', [...format, ...flags, url]);
  const at = stdout.lastIndexOf('\n');
  const status = Number(stdout.slice(at + 1));
  if (status === 0) throw new Error(`curl ${url} failed: ${stderr}`);
  return { status, body: JSON.parse(stdout.slice(0, at)) };
}
