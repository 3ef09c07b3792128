// Starts PostgreSQL servers for tests, each with its own directory and port.
import { chown, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { RunningProcess } from './processes.ts';
import { freePort, runOk, startProcess, waitFor } from './processes.ts';
import { makeTemporaryDirectory, memoryDirectory } from './temporary-directory.ts';
import { postgresTools } from './tools.ts';

export interface PostgresOptions {
  /** Further settings, such as `max_connections=5`. */
  readonly settings?: readonly string[];
}

export interface Postgres extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  /** The superuser. */
  readonly user: string;
  readonly password: string;
  readonly database: string;
  /** A connection URL with all of the above. */
  readonly url: string;
  /** The directory of the server's Unix socket. */
  readonly socketDirectory: string;
  /** The data directory. */
  readonly dataDirectory: string;
  /** Returns the server's processes, its main process first. */
  pids(): Promise<number[]>;
  /** Returns the server's log since its last start. */
  log(): string;
  /** Freezes all processes of the server: connections stay open and nothing answers. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Kills all processes of the server with SIGKILL, as a crash does. */
  kill(): Promise<void>;
  /** Starts the server (after stopping it) on the same data and port, and waits until it serves. */
  restart(): Promise<void>;
  /** Runs statements in psql; returns its output, unaligned and without headers. */
  psql(statements: string): Promise<string>;
  /** Returns the statements by which pg_dump writes a schema. */
  dump(schema: string): Promise<string>;
  stop(): Promise<void>;
}

const host = '127.0.0.1';
const user = 'berth';
const password = "it's /@:%20 secret";
const database = 'postgres';
/** Small sizes; durability stays at its default, so a commit waits for its flush. */
const ownSettings = [
  'shared_buffers=16MB',
  'max_wal_size=64MB',
  'max_connections=50',
  // Segments in files of the data directory: those in /dev/shm stay there after SIGKILL.
  'dynamic_shared_memory_type=mmap',
];
const stopLimitMs = 2_000;

export async function startPostgres({ settings = [] }: PostgresOptions = {}): Promise<Postgres> {
  await using stack = new AsyncDisposableStack();
  const { path } = stack.use(await makeTemporaryDirectory(memoryDirectory()));
  const { initdb, postgres, psql, dump } = postgresTools();
  const data = join(path, 'data');
  const passwordFile = join(path, 'password');
  const port = await freePort();
  await mkdir(data);
  await writeFile(passwordFile, password);
  // PostgreSQL refuses to run as root.
  const owner = process.getuid?.() === 0 ? await idsOf('nobody') : undefined;
  if (owner) for (const own of [path, data, passwordFile]) await chown(own, owner.uid, owner.gid);
  /** Sets the parent-death signal again: the kernel clears it when a process changes its user. */
  const asOwner = (command: string, args: readonly string[]): [string, string[]] =>
    owner === undefined
      ? [command, [...args]]
      : [
          'setpriv',
          [
            ...[`--reuid=${owner.uid}`, `--regid=${owner.gid}`, '--clear-groups'],
            ...['--pdeathsig', 'QUIT', command, ...args],
          ],
        ];
  await runOk(
    ...asOwner(initdb, [
      ...['--pgdata', data, '--username', user, '--pwfile', passwordFile],
      ...['--auth', 'scram-sha-256', '--encoding', 'UTF8', '--locale', 'C', '--no-sync'],
    ]),
    { env: { TZ: 'UTC' } },
  );

  async function launch(): Promise<RunningProcess> {
    const all = [
      `listen_addresses=${host}`,
      `unix_socket_directories=${path}`,
      ...ownSettings,
      ...settings,
    ];
    const flags = ['-D', data, '-p', String(port), ...all.flatMap((setting) => ['-c', setting])];
    const running = startProcess(...asOwner(postgres, flags), { orphanSignal: 'SIGQUIT' });
    const isReady = () => running.output().includes('database system is ready to accept');
    try {
      await waitFor(() => running.hasExited || isReady(), 20_000, 'PostgreSQL to serve');
      if (running.hasExited) throw new Error('PostgreSQL has ended');
    } catch (error) {
      await running.stop();
      throw new Error(`cannot start PostgreSQL:\n${running.output().slice(-2_000)}`, {
        cause: error,
      });
    }
    return running;
  }

  let server = await launch();

  /** Signals the main process first, so that it starts no child meanwhile. */
  async function signalAll(signal: NodeJS.Signals): Promise<void> {
    if (server.hasExited) return;
    server.kill(signal);
    for (const pid of await childrenOf(server.pid)) tryKill(pid, signal);
  }

  async function kill(): Promise<void> {
    const children = await childrenOf(server.pid);
    await signalAll('SIGKILL');
    await server.finished;
    await waitFor(() => !children.some((pid) => tryKill(pid, 0)), 5_000, 'its processes to end');
  }

  async function stopServer(): Promise<void> {
    if (server.hasExited) return;
    await signalAll('SIGCONT');
    server.kill('SIGINT');
    await Promise.race([server.finished, new Promise((r) => setTimeout(r, stopLimitMs).unref())]);
    if (!server.hasExited) await kill();
  }

  stack.defer(stopServer);
  const env = {
    ...{ PGHOST: host, PGPORT: String(port), PGUSER: user, PGPASSWORD: password },
    PGDATABASE: database,
  };
  const owned = stack.move();
  const stop = () => owned.disposeAsync();
  const url = `postgres://${user}:${encodeURIComponent(password)}@${host}:${port}/${database}`;
  return {
    ...{ host, port, user, password, database, url, socketDirectory: path },
    dataDirectory: data,
    pids: async () => [server.pid, ...(await childrenOf(server.pid))],
    log: () => server.output(),
    pause: () => signalAll('SIGSTOP'),
    resume: () => signalAll('SIGCONT'),
    kill,
    restart: async () => {
      await stopServer();
      server = await launch();
    },
    psql: (statements) =>
      runOk(psql, ['--no-psqlrc', '-Atq', '-v', 'ON_ERROR_STOP=1', '-f', '-'], {
        input: statements,
        env,
      }),
    dump: (schema) => runOk(dump, ['--schema', `"${schema}"`], { env }),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

async function idsOf(name: string): Promise<{ uid: number; gid: number }> {
  const [uid, gid] = await Promise.all([runOk('id', ['-u', name]), runOk('id', ['-g', name])]);
  return { uid: Number(uid), gid: Number(gid) };
}

async function childrenOf(parent: number): Promise<number[]> {
  const pids = (await readdir('/proc')).map(Number).filter((pid) => pid > 0);
  const parents = await Promise.all(
    pids.map(async (pid) => {
      const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
      // The command name in parentheses may contain anything; the state and the parent follow it.
      return Number(status.slice(status.lastIndexOf(')')).split(' ')[2]);
    }),
  );
  return pids.filter((_, index) => parents[index] === parent);
}

/** Returns false when the process no longer exists. */
function tryKill(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}
