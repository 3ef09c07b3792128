import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BerthHost, BerthOptions } from './berth.ts';
import { berthFlags, repository } from './berth.ts';
import { isAlive } from './host-processes.ts';
import { waitFor } from './processes.ts';

/**
 * A berth daemon under socket activation: started at the first request and again each time it ends,
 * while the listening sockets stay open.
 */
export interface ActivatedBerth extends AsyncDisposable {
  /** Returns everything that the daemons have printed so far. */
  log(): string;
  /** The process ID of the daemon that started last. */
  pid(): Promise<number>;
  /** Waits until `count` daemons, one after the other, have begun to serve. */
  served(count: number): Promise<void>;
  /** Ends the daemon; the next one starts at once unless `hold` was called. */
  end(signal: NodeJS.Signals): Promise<void>;
  /** Starts no further daemon until `release`. */
  hold(): Promise<void>;
  release(): Promise<void>;
}

export interface ActivatedBerthOptions extends BerthOptions {
  /** Paths on which systemd listens, in order; the daemon's two sockets by default. */
  readonly listen?: readonly string[];
  /** `FileDescriptorName` of each; without names the daemon identifies the sockets by path. */
  readonly names?: readonly string[];
}

export const dockerPath = '/run/docker/plugins/berth.sock';
export const adminPath = '/run/berth/admin.sock';

/**
 * Restarts the daemon: systemd-socket-activate can't, because it replaces itself with its child.
 */
const supervise = `
while :; do
  while [ -e "$HOLD" ]; do sleep 0.05; done
  sh -c 'echo $$ > "$PID_FILE.new"; mv "$PID_FILE.new" "$PID_FILE"; LISTEN_PID=$$ exec "$@"' sh "$@"
  sleep 0.1
done`;

export async function startActivatedBerth(
  host: BerthHost,
  { listen = [dockerPath, adminPath], names, ...options }: ActivatedBerthOptions = {},
): Promise<ActivatedBerth> {
  await using stack = new AsyncDisposableStack();
  const [pidFile, holdFile] = [join(host.directory, 'pid'), join(host.directory, 'hold')];
  await host.exec('mkdir', ['-p', '/run/berth']);
  const variables = ['DEBUG=berth:*', 'DEBUG_COLORS=no', `PID_FILE=${pidFile}`, `HOLD=${holdFile}`];
  const supervisor = host.spawn('systemd-socket-activate', [
    ...listen.flatMap((path) => ['-l', path]),
    ...(names === undefined ? [] : [`--fdname=${names.join(':')}`]),
    ...variables.flatMap((variable) => ['-E', variable]),
    ...['sh', '-c', supervise, 'sh'],
    ...[join(repository, 'bin/berth'), 'serve', ...berthFlags(host, options)],
  ]);
  const pid = async () => Number(await readFile(pidFile, 'utf8'));
  const end = async (signal: NodeJS.Signals) => {
    const daemon = await pid();
    process.kill(daemon, signal);
    await waitFor(async () => !(await isAlive(daemon)), 20_000, 'the daemon to end');
  };
  const hold = () => writeFile(holdFile, '');
  stack.defer(async () => {
    await hold();
    supervisor.kill('SIGKILL');
    await supervisor.finished;
  });
  stack.defer(async () => {
    await hold();
    if (await isAlive(await pid().catch(() => 0))) await end('SIGTERM');
  });
  const isListening = () => supervisor.output().split('Listening on').length > listen.length;
  await waitFor(isListening, 5_000, 'systemd-socket-activate to listen');
  const owned = stack.move();
  return {
    log: () => supervisor.output(),
    pid,
    served: async (count) => {
      const times = () => supervisor.output().split('berth serves').length - 1;
      await waitFor(() => times() >= count, 15_000, `daemon ${count} to serve`);
    },
    end,
    hold,
    release: () => rm(holdFile),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
