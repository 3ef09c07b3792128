import { parseArgs } from 'node:util';
import createDebug from 'debug';
import { bootId } from '../lib/linux/boot.ts';
import { listenOnUnixSocket, SocketInUseError } from '../lib/linux/unix-server.ts';
import { systemClock } from '../lib/running/clock.ts';
import { DockerCalls } from './engine-calls.ts';
import { machineFileSystems } from './file-systems.ts';
import { machineClock } from './machine.ts';
import { raisePriority } from './priority.ts';
import { KernelUserScan } from './scan/user-scan.ts';
import { Sentinel } from './sentinel.ts';
import { sentinelHandler } from './server.ts';
import { stateFile } from './state-file.ts';
import { KernelStops } from './stops/kernel-stops.ts';

const log = createDebug('berth:sentinel');

/** The sentinel ends when nothing has been watched for this long. */
const idleLimitMs = 120_000;
const idleCheckMs = 5_000;

/**
 * Runs the sentinel as a process; resolves to the exit code. The daemon or systemd starts it. It
 * outlives the daemon, and ends when there is nothing to watch.
 */
export async function main(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      socket: { type: 'string', default: '/run/berth/sentinel.sock' },
      'docker-socket': { type: 'string', default: '/var/run/docker.sock' },
      /** Do not end when idle: systemd would start the sentinel again and again. */
      stay: { type: 'boolean', default: false },
    },
  });
  // systemd gives the sentinel that it starts its priority by the unit.
  await raisePriority({ realTime: !values.stay });
  const stop = new AbortController();
  const boot = bootId();
  const clock = systemClock();
  const sentinel: Sentinel = new Sentinel({
    scan: new KernelUserScan({ daemon: () => sentinel.daemonPid }),
    stops: new KernelStops(),
    engine: new DockerCalls(values['docker-socket']),
    fileSystems: machineFileSystems,
    clock: machineClock(clock),
    file: stateFile(`${values.socket}.state`),
    bootId: boot,
  });
  const handler = sentinelHandler({ sentinel, bootId: boot, end: () => stop.abort() });
  try {
    await using _server = await listenOnUnixSocket(handler, { path: values.socket, mode: 0o600 });
    log('started pid=%d socket=%s', process.pid, values.socket);
    process.once('SIGTERM', () => stop.abort());
    process.once('SIGINT', () => stop.abort());
    const idle = setInterval(() => {
      if (!values.stay && sentinel.idleMs > idleLimitMs) stop.abort();
    }, idleCheckMs);
    await sentinel.run(stop.signal);
    clearInterval(idle);
    return 0;
  } catch (error) {
    if (!(error instanceof SocketInUseError)) throw error;
    process.stderr.write(`berth sentinel: another sentinel listens on ${values.socket}\n`);
    return 1;
  }
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
