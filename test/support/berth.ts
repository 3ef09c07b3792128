import { join } from 'node:path';
import type { Host } from './host.ts';
import type { FinishedProcess, RunningProcess } from './processes.ts';
import { succeeded, waitFor } from './processes.ts';

export interface BerthOptions {
  /** `etcd://…`; the embedded store by default. */
  readonly store?: string;
  /** A directory that several hosts share; the host's own by default. */
  readonly volumeDir?: string;
  readonly driver?: 'directory' | 'image';
  readonly ttl?: string;
  readonly lockTimeout?: string;
  /** The plugin's socket; /run/docker/plugins/berth.sock in the host by default. */
  readonly socket?: string;
  /** Further flags. */
  readonly flags?: readonly string[];
  /** Further variables of the daemon's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** The directory of an earlier release whose daemon is run; this tree by default. */
  readonly release?: string;
}

/** A berth daemon on a host, run as an operator runs it. */
export interface Berth extends AsyncDisposable {
  readonly process: RunningProcess;
  /** Everything that the daemon has printed so far, with the log of DEBUG=berth:*. */
  log(): string;
  /** Runs the `berth` command on its host. */
  berth(...args: string[]): Promise<FinishedProcess>;
  berthOk(...args: string[]): Promise<string>;
  /** Kills the daemon with SIGKILL. */
  kill(): Promise<void>;
  /**
   * Starts it again, after `kill` or `stop`, with the same settings; with `release` it is the daemon
   * of another directory, from then on.
   */
  start(release?: string): Promise<void>;
  /** Stops the daemon with SIGTERM; returns its exit code. */
  stop(): Promise<number>;
}

export const repository = join(import.meta.dirname, '../..');

/** The part of a host that a daemon needs. */
export type BerthHost = Pick<Host, 'name' | 'directory' | 'dockerSocket' | 'spawn' | 'exec'>;

/** Returns the daemon's flags for this host. */
export function berthFlags(
  host: Pick<BerthHost, 'name' | 'directory' | 'dockerSocket'>,
  options: BerthOptions = {},
): string[] {
  const stateDir = join(host.directory, 'berth');
  return [
    ...['--host', host.name],
    ...['--state-dir', stateDir],
    ...['--volume-dir', options.volumeDir ?? join(host.directory, 'volumes')],
    ...['--docker-socket', host.dockerSocket],
    ...(options.store === undefined ? [] : ['--store', options.store]),
    ...(options.driver === undefined ? [] : ['--driver', options.driver]),
    ...(options.ttl === undefined ? [] : ['--ttl', options.ttl]),
    ...(options.lockTimeout === undefined ? [] : ['--lock-timeout', options.lockTimeout]),
    ...(options.socket === undefined ? [] : ['--socket', options.socket]),
    ...(options.flags ?? []),
  ];
}

/** Starts berth on a host and waits until it serves. */
export async function startBerth(host: BerthHost, options: BerthOptions = {}): Promise<Berth> {
  const flags = berthFlags(host, options);
  const earlier: string[] = [];
  let release = options.release ?? repository;
  let process = await launch(host, release, flags, options.env);

  const berth = (...args: string[]) =>
    host.exec(join(repository, 'bin/berth'), args, { cwd: host.directory });
  const stop = async () => {
    await process.stop(20_000);
    return (await process.finished).code;
  };
  return {
    get process() {
      return process;
    },
    log: () => [...earlier, process.output()].join(''),
    berth,
    berthOk: async (...args) => succeeded(['berth', ...args], await berth(...args)),
    kill: async () => {
      process.kill('SIGKILL');
      await process.finished;
    },
    start: async (other = release) => {
      release = other;
      earlier.push(process.output());
      process = await launch(host, release, flags, options.env);
    },
    stop,
    [Symbol.asyncDispose]: async () => {
      await stop();
    },
  };
}

async function launch(
  host: BerthHost,
  release: string,
  flags: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<RunningProcess> {
  const daemon = host.spawn('node', [join(release, 'plugin/main.ts'), ...flags], {
    env: { ...withoutSoak(), DEBUG: 'berth:*', DEBUG_COLORS: 'no', ...env },
  });
  await waitFor(
    () => daemon.hasExited || daemon.output().includes('berth serves'),
    60_000,
    'berth to serve',
  );
  if (daemon.hasExited) throw new Error(`berth ended: ${(await daemon.finished).stderr}`);
  return daemon;
}

/** Removes the settings of the tests' soak, which a daemon refuses: it knows no such setting. */
function withoutSoak(): Record<string, undefined> {
  const names = Object.keys(process.env).filter((name) => name.startsWith('BERTH_SOAK_'));
  return Object.fromEntries(names.map((name) => [name, undefined]));
}
