import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { runProcess } from '../test/support/processes.ts';
import { makeTemporaryDirectory } from '../test/support/temporary-directory.ts';

/** etcd's own Go client, in a process that runs one order at a time. */
export interface GoMutex extends AsyncDisposable {
  /** Locks and unlocks, each worker with a lock of its own; returns the cycles per second. */
  cyclesPerSecond(workers: number, roundMs: number): Promise<number>;
  /** Returns the p50, in ms, of the hand-overs of one lock among waiters. */
  handOverMs(waiters: number): Promise<number>;
}

/** Builds the program in `go-mutex/` and starts it. `endpoint`: address and port of etcd. */
export async function startGoMutex(endpoint: string): Promise<GoMutex> {
  await using stack = new AsyncDisposableStack();
  const { path } = stack.use(await makeTemporaryDirectory());
  const program = join(path, 'go-mutex');
  const built = await runProcess('go', ['build', '-o', program, '.'], {
    cwd: join(import.meta.dirname, 'go-mutex'),
    env: { GOPATH: '/usr/share/gocode', GO111MODULE: 'off', GOCACHE: join(path, 'cache') },
  });
  if (built.code !== 0) {
    throw new Error(
      `the Go program of this bench can't be built; run apt-get install golang-go golang-etcd-server-dev\n${built.stderr}`,
    );
  }
  const child: ChildProcessWithoutNullStreams = spawn('setpriv', [
    '--pdeathsig',
    'KILL',
    program,
    endpoint,
  ]);
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => {
    complaint += chunk;
  });
  const answers = createInterface(child.stdout)[Symbol.asyncIterator]();
  const exited = once(child, 'exit');
  stack.defer(async () => {
    child.stdin.end();
    child.kill('SIGTERM');
    await exited;
  });
  const order = async (line: string) => {
    child.stdin.write(`${line}\n`);
    const { value, done } = await answers.next();
    if (done) throw new Error(`the Go program has ended: ${complaint}`);
    return Number(value);
  };
  const owned = stack.move();
  return {
    cyclesPerSecond: (workers, roundMs) => order(`cycles ${workers} ${roundMs}`),
    handOverMs: (waiters) => order(`handover ${waiters}`),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
