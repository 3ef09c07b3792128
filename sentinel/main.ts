import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import createDebug from 'debug';
import { bootId, bootNowMs } from '../lib/linux/boot.ts';
import { listenOnUnixSocket, SocketInUseError } from '../lib/linux/unix-server.ts';
import { messageOf } from '../lib/running/message-of.ts';
import { ContainerActions } from './container-actions.ts';
import { EngineCalls } from './engine-calls.ts';
import { Sentinel } from './sentinel.ts';
import { sentinelHandler } from './server.ts';
import { SentinelState } from './state.ts';

const log = createDebug('berth:sentinel');

/** So long after the last volume was let go, and nobody has come with another, it ends. */
const idleLimitMs = 120_000;
const idleCheckMs = 5_000;

/**
 * The sentinel as a process. The daemon starts it, or systemd does; it outlives both, until there
 * is nothing to guard.
 */
export async function main(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      socket: { type: 'string', default: '/run/berth/sentinel.sock' },
      'docker-socket': { type: 'string', default: '/var/run/docker.sock' },
      /** Under systemd it stays, or it would be started again and again. */
      stay: { type: 'boolean', default: false },
    },
  });
  protectFromMemoryShortage();
  const stop = new AbortController();
  const boot = bootId();
  const state = new SentinelState(`${values.socket}.state`, boot);
  const engine = new EngineCalls(values['docker-socket']);
  const sentinel = new Sentinel({
    state,
    actions: new ContainerActions(engine),
    now: bootNowMs,
  });
  const handler = sentinelHandler({ sentinel, bootId: boot, end: () => stop.abort() });
  try {
    await using _server = await listenOnUnixSocket(handler, { path: values.socket, mode: 0o600 });
    log('guards: pid=%d socket=%s', process.pid, values.socket);
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
    process.stderr.write(`berth sentinel: another one guards on ${values.socket}\n`);
    return 1;
  }
}

/** When memory is short, what keeps hosts from writing to each other's volumes has to go last. */
function protectFromMemoryShortage(): void {
  try {
    writeFileSync('/proc/self/oom_score_adj', '-900');
  } catch (error) {
    log('the memory shortage score stays as it is: %s', messageOf(error));
  }
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
