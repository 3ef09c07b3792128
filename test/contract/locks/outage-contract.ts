import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { LockLostError, StoreUnavailableError } from '../../../lib/lock/errors.ts';
import type { LockManager } from '../../../lib/lock/lock-manager.ts';
import type { TicketStore } from '../../../lib/lock/stores/ticket-store.ts';
import { beforePollMs } from '../../support/eventually.ts';
import { FaultyStore } from '../../support/faulty-store.ts';
import { keep, manager, queue, take } from '../bench/manager-bench.ts';
import { eventually, exclusive, longTtlMs } from '../bench/store-bench.ts';

export const outageTtlMs = 4_000;
const ttlMs = outageTtlMs;

/** The server of a store; a test can freeze or kill it. */
export interface OutageServer extends AsyncDisposable {
  pause(): void | Promise<void>;
  resume(): void | Promise<void>;
  kill(): Promise<void>;
  restart(): Promise<void>;
}

export interface OutageOptions<Server extends OutageServer> {
  readonly start: () => Promise<Server>;
  readonly connect: (server: Server) => TicketStore;
  /** The message for callers while the server is down. */
  readonly complaint: RegExp;
  /** How long an outage sessions survive; 0: only what was left of their TTL. */
  readonly outlastsMs: number;
}

/** The server of the running test and two hosts; a test can break the network of the first. */
export interface OutageBench<Server> {
  readonly server: Server;
  readonly network: FaultyStore;
  readonly n1: LockManager;
  readonly n2: LockManager;
}

/** Checks locks while the server of their store fails. Returns the bench, for further tests. */
export function lockOutageContract<Server extends OutageServer>(
  options: OutageOptions<Server>,
): () => OutageBench<Server> {
  let stack: AsyncDisposableStack;
  let bench: OutageBench<Server>;

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    const server = stack.use(await options.start());
    const connect = () => stack.use(options.connect(server));
    const network = new FaultyStore(connect());
    const n1 = stack.use(manager(network, 'n1', { ttlMs }));
    // Long enough that a waiter's ticket survives what happens to the holder's, on a busy machine, too.
    const n2 = stack.use(manager(connect(), 'n2', { ttlMs: 2 * longTtlMs }));
    bench = { server, network, n1, n2 };
  });
  afterEach(() => stack.disposeAsync());

  test('S15 S59 frees the lock of a host that is cut off, and not before that host stops', async () => {
    const { n1, n2, network } = bench;
    const lock = await take(n1, 'db');
    const { granted } = await queue(n2, 'db');
    const stopped = abortOf(lock.signal);
    network.cutOff();
    const successor = await granted;
    const grantedAt = performance.now();
    const stoppedAt = await stopped;
    expect(stoppedAt).toBeLessThan(grantedAt);
    expect(() => lock.throwIfLost()).toThrow(LockLostError);
    await successor.unlock();
  });

  test('S57 stops the holder in time while the server is frozen, and grants to nobody before', async () => {
    const { n1, n2, server } = bench;
    const lock = await take(n1, 'db');
    const { kept, states } = keep(await take(n1, 'kept'), n1);
    const waiter = await queue(n2, 'db');
    const stopped = abortOf(lock.signal);
    await pause(1_500); // A renewal has been answered by now.
    await server.pause();
    // The server answers nothing until the test resumes it: each end below comes from a limit of the
    // host's own. deadline.test.ts proves the exact moments on virtual time.
    const failing = take(n1, 'other', { timeoutMs: 300 });
    await expect(failing).rejects.toThrow(StoreUnavailableError);
    await stopped;
    expect(kept.state).toBe('unproven');
    expect(waiter.endedAt).toBeUndefined();
    await pause(1_000);
    await server.resume();
    // The server's clock decides whether the session expired or was renewed in time.
    await lock.unlock();
    const successor = await waiter.granted;
    expect(successor.token).toBeGreaterThan(lock.token);
    await eventually(() => expect(['held', 'lost']).toContain(states.at(-1)), ttlMs);
    await kept.unlock();
    await successor.unlock();
    await eventually(async () => expect(await n1.inspect('kept')).toEqual([]));
  });

  test('gives up while the server is down, and recovers by itself', async () => {
    const { n1, n2, server } = bench;
    const lock = await take(n1, 'db');
    const { kept, states } = keep(await take(n1, 'kept'), n1);
    const waiter = await queue(n2, 'db');
    await server.kill();
    // The server is away until the test starts it: each end below comes from a limit of the host's own.
    const refusals = [0, 500].map(async (timeoutMs) => {
      const failing = take(n1, 'other', { timeoutMs });
      await expect(failing).rejects.toThrow(StoreUnavailableError);
      await expect(failing).rejects.toThrow(options.complaint);
    });
    await Promise.all(refusals);
    await lock.unlock();
    await pause(options.outlastsMs);
    await eventually(() => expect(kept.state).toBe('unproven'), ttlMs);
    await server.restart();
    const successor = await waiter.granted;
    await (await take(n1, 'other', { timeoutMs: 60_000 })).unlock();
    const outcomes = options.outlastsMs > 0 ? ['held'] : ['held', 'lost'];
    await eventually(() => expect(outcomes).toContain(states.at(-1)));
    // The watches are live again, so a hand-over does not wait for the slow poll.
    await eventually(() => expect(n1.mirror.isLive && n2.mirror.isLive).toBe(true));
    const next = await queue(n1, 'db');
    const releasedAt = performance.now();
    await successor.unlock();
    await (await next.granted).unlock();
    expect(performance.now() - releasedAt).toBeLessThan(beforePollMs);
    await n2.breakLock(kept.ticket);
    await eventually(() => expect(states.at(-1)).toBe('lost'));
    expect(await n2.tryLock([exclusive('kept')], { reason: 'Mount' })).toBeDefined();
  });

  test('F3 frees a lock that was lost by an outage although its holder never unlocks it', async () => {
    const { n1, n2, server } = bench;
    const lock = await take(n1, 'db');
    const lost = abortOf(lock.signal);
    const waiter = await queue(n2, 'db');
    await server.kill();
    await lost;
    await server.restart();
    // The session may have outlived the outage, and is then renewed for ever.
    const successor = await waiter.granted;
    expect(() => lock.throwIfLost()).toThrow(LockLostError);
    expect(successor.token).toBeGreaterThan(lock.token);
    await successor.unlock();
    await eventually(async () => expect(await n2.inspect('db')).toEqual([]));
  });

  return () => bench;
}

/** Resolves when a signal aborts, with the time by `performance.now()`. */
function abortOf(signal: AbortSignal): Promise<number> {
  return new Promise((resolve) =>
    signal.addEventListener('abort', () => resolve(performance.now())),
  );
}
