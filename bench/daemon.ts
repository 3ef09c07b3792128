import { mkdir } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import { join } from 'node:path';
import type { RunningProcess } from '../test/support/processes.ts';
import { startProcess, waitFor } from '../test/support/processes.ts';
import { makeTemporaryDirectory } from '../test/support/temporary-directory.ts';

/** A berth daemon without an engine, called as an engine calls it. */
export interface BenchDaemon extends AsyncDisposable {
  readonly process: RunningProcess;
  /** Calls an endpoint of the plugin protocol; rejects unless the answer has status 200. */
  call(endpoint: string, body: object): Promise<string>;
}

export async function startBenchDaemon(store: string): Promise<BenchDaemon> {
  await using stack = new AsyncDisposableStack();
  const { path } = stack.use(await makeTemporaryDirectory());
  await mkdir(join(path, 'volumes'));
  const socket = join(path, 'berth.sock');
  const daemon = stack.use(
    startProcess(process.execPath, [
      '--optimize-for-size', // As npm start does.
      join(import.meta.dirname, '../plugin/main.ts'),
      ...['--host', 'bench', '--store', store, '--state-dir', join(path, 'state')],
      ...['--volume-dir', join(path, 'volumes'), '--mount-dir', join(path, 'mounts')],
      ...['--socket', socket, '--admin-socket', join(path, 'admin.sock')],
      ...['--docker-socket', join(path, 'no-engine.sock')],
    ]),
  );
  await waitFor(() => daemon.output().includes('berth serves'), 15_000, 'berth to serve');
  const agent = new Agent({ keepAlive: true, maxSockets: 2 });
  stack.defer(() => agent.destroy());
  const running = stack.move();
  return {
    process: daemon,
    call: (endpoint, body) => call(agent, socket, endpoint, JSON.stringify(body)),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

function call(agent: Agent, socketPath: string, endpoint: string, body: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const path = `/${endpoint}`;
    const sent = request({ agent, socketPath, path, method: 'POST' }, (response) => {
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
