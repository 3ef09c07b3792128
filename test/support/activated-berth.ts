import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BerthHost, BerthOptions } from './berth.ts';
import { berthFlags, repository } from './berth.ts';
import { isAlive } from './host-processes.ts';
import { waitFor } from './processes.ts';

/** A berth daemon that is started at the first request and again each time it ends, with its sockets kept for it. */
export interface ActivatedBerth extends AsyncDisposable {
  /** What the daemons have printed so far. */
  log(): string;
  /** Of the last daemon that was started. */
  pid(): Promise<number>;
  /** Waits until so many daemons have started to serve, one after the other. */
  served(count: number): Promise<void>;
  /** Ends the daemon; the next one comes at once unless it is held. */
  end(signal: NodeJS.Signals): Promise<void>;
  /** From now on no daemon is started, until `release`. */
  hold(): Promise<void>;
  release(): Promise<void>;
}

export interface ActivatedBerthOptions extends BerthOptions {
  /** Where systemd listens, in order; the daemon's two sockets by default. */
  readonly listen?: readonly string[];
  /** `FileDescriptorName` of each; without them they are told by their paths. */
  readonly names?: readonly string[];
}

export const dockerPath = '/run/docker/plugins/berth.sock';
export const adminPath = '/run/berth/admin.sock';

/** systemd-socket-activate replaces itself by what it starts, so the restarts are this script's. */
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
