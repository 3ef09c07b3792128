import { mkdir } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import { join } from 'node:path';
import type { RunningProcess } from '../test/support/processes.ts';
import { startProcess, waitFor } from '../test/support/processes.ts';
import { makeTemporaryDirectory } from '../test/support/temporary-directory.ts';

/** A berth daemon without an engine, called as an engine calls it. */
export interface BenchDaemon extends AsyncDisposable {
  readonly process: RunningProcess;
  /** The directory of its state, sockets and volumes. */
  readonly path: string;
  /** Calls an endpoint of the plugin protocol; rejects unless the answer has status 200. */
  call(endpoint: string, body: object): Promise<string>;
  /** Calls an endpoint of the admin socket. */
  admin(method: string, endpoint: string): Promise<string>;
  /** Kills the daemon with SIGKILL, and starts it again. Resolves when it serves. */
  restart(): Promise<void>;
}

export interface BenchDaemonOptions {
  /** The command that runs the daemon's command, such as a tracer; none by default. */
  readonly under?: readonly string[];
  /** Further flags. */
  readonly flags?: readonly string[];
}

export async function startBenchDaemon(
  store: string,
  { under = [], flags = [] }: BenchDaemonOptions = {},
): Promise<BenchDaemon> {
  await using stack = new AsyncDisposableStack();
  const { path } = stack.use(await makeTemporaryDirectory());
  await mkdir(join(path, 'volumes'));
  const socket = join(path, 'berth.sock');
  const adminSocket = join(path, 'admin.sock');
  const [command = '', ...args] = [
    ...under,
    process.execPath,
    '--optimize-for-size', // As npm start does.
    join(import.meta.dirname, '../plugin/main.ts'),
    ...['--host', 'bench', '--store', store, '--state-dir', join(path, 'state')],
    ...['--volume-dir', join(path, 'volumes'), '--mount-dir', join(path, 'mounts')],
    ...['--socket', socket, '--admin-socket', adminSocket],
    ...['--docker-socket', join(path, 'no-engine.sock')],
    ...flags,
  ];
  const start = async () => {
    const started = startProcess(command, args);
    const serves = () => started.output().includes('berth serves');
    await waitFor(() => serves() || started.hasExited, 30_000, 'berth to serve');
    if (!serves()) throw new Error(`berth does not start: ${started.output()}`);
    return started;
  };
  let daemon = await start();
  stack.defer(() => daemon.stop());
  // The engine keeps two idle connections, and opens more for calls at the same time.
  const agent = new Agent({ keepAlive: true, maxFreeSockets: 2 });
  stack.defer(() => agent.destroy());
  const running = stack.move();
  return {
    get process() {
      return daemon;
    },
    path,
    call: (endpoint, body) => call(agent, socket, 'POST', endpoint, JSON.stringify(body)),
    admin: (method, endpoint) => call(agent, adminSocket, method, endpoint, ''),
    restart: async () => {
      daemon.kill('SIGKILL');
      await daemon.finished;
      daemon = await start();
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

function call(
  agent: Agent,
  socketPath: string,
  method: string,
  endpoint: string,
  body: string,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const path = `/${endpoint}`;
    const sent = request({ agent, socketPath, path, method }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        if (response.statusCode === 200) resolve(text);
        else reject(new Error(`${endpoint} answered ${response.statusCode}: ${text}`));
      });
    });
    sent.on('error', reject);
    sent.end(body);
  });
}
