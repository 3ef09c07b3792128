import { once } from 'node:events';
import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Clock } from '../../running/clock.ts';
import { systemClock } from '../../running/clock.ts';
import type { LockManager } from '../lock-manager.ts';
import type { Locks } from '../locks.ts';
import { isLoopback } from './access.ts';
import { IdleConnections } from './idle-connections.ts';
import { Router } from './router.ts';

export interface LockServerOptions {
  readonly locks: Locks & Pick<LockManager, 'isAlive'>;
  /** The TTL of the locks. */
  readonly ttlMs: number;
  /** An IP address; one beyond loopback needs `tls` and `token`. */
  readonly address: string;
  /** 0: any that is free. */
  readonly port: number;
  /** PEM texts. */
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
  /** Each request must have it. */
  readonly token?: string | undefined;
  /** The most requests that hold or wait at one time. Default 1,000. */
  readonly maxHolds?: number;
  /**
   * Called for each connection: ends it when what was sent on it is not acknowledged for so long. Without
   * it, a client that vanished keeps its locks for a quarter of an hour.
   */
  readonly limitSilence?: (socket: Socket, limitMs: number) => void;
  readonly clock?: Clock;
}

export interface LockServer extends AsyncDisposable {
  readonly url: string;
  /**
   * Accepts nothing new, asks the holders to end their work, and waits `graceMs` until they have closed
   * their connections, or for the longest time of silence if that is more: a client that is cut off works for so long.
   * Then their locks are lost for them, and are unlocked. A second call with 0 ends the wait, also for such a client.
   * `onWait` gets the time.
   */
  stop(graceMs: number, onWait?: (ms: number) => void): Promise<void>;
}

/** How often Node looks for connections that have not sent their request in time: 30 s by default. */
const connectionsCheckingInterval = 1_000;
/** Connections for requests that hold nothing, such as to list or to release, and those without a request. */
const furtherConnections = 100;
/**
 * The most connections without a request that may ask. Another ends the oldest: a client sends its request at once, so
 * those who only connect keep nobody out.
 */
const maxIdleConnections = 64;

/**
 * Serves locks over HTTP. Rejects RangeError for an address beyond loopback without TLS or a token, and as
 * a socket does that can't listen.
 */
export async function serveLocks(options: LockServerOptions): Promise<LockServer> {
  const { locks, ttlMs, address, port, tls, token, limitSilence } = options;
  const { clock = systemClock(), maxHolds = 1_000 } = options;
  checkAddress(options);
  const idle = new IdleConnections(maxIdleConnections);
  const accepted = ({ socket }: IncomingMessage) => idle.accepted(socket);
  const router = new Router({ locks, clock, ttlMs, token, maxHolds, accepted });
  const server = await newServer(tls);
  server.on('request', (request, response) => {
    // Its socket is taken now: a request whose body was not read has none any more when its answer has been sent.
    response.once('close', idle.begin(request.socket));
    void router.answer(request, response);
  });
  // Node's limits for the head and the body of a request; a request that holds has sent both.
  server.headersTimeout = 10_000;
  server.requestTimeout = 10_000;
  server.maxConnections = maxHolds + furtherConnections;
  server.on('connection', (socket: Socket) => {
    socket.setKeepAlive(true, ttlMs / 2);
    socket.setNoDelay(true);
    limitSilence?.(socket, ttlMs);
    idle.add(socket);
  });
  server.listen(port, address);
  await once(server, 'listening');
  return new ListeningServer(server, router, clock, tls !== undefined);
}

class ListeningServer implements LockServer {
  readonly url: string;
  readonly #server: Server;
  readonly #router: Router;
  readonly #clock: Clock;
  #graceOver = new AbortController();
  #stopped: Promise<void> | undefined;

  constructor(server: Server, router: Router, clock: Clock, isSecure: boolean) {
    this.#server = server;
    this.#router = router;
    this.#clock = clock;
    const bound = server.address();
    const { address, port } = typeof bound === 'object' && bound ? bound : { address: '', port: 0 };
    const host = address.includes(':') ? `[${address}]` : address;
    this.url = `${isSecure ? 'https' : 'http'}://${host}:${port}`;
  }

  stop(graceMs: number, onWait: (ms: number) => void = () => {}): Promise<void> {
    if (this.#stopped === undefined) this.#stopped = this.#stop(graceMs, onWait);
    else if (graceMs === 0) this.#graceOver.abort();
    return this.#stopped;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop(0);
  }

  async #stop(graceMs: number, onWait: (ms: number) => void): Promise<void> {
    const { holds } = this.#router;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    const longestMs = this.#router.stop(graceMs);
    // Zero is the word of an operator, or the end of the program: nobody waits.
    const waitMs = graceMs === 0 ? 0 : Math.max(graceMs, longestMs);
    onWait(waitMs);
    this.#server.closeIdleConnections();
    const grace = this.#clock.sleep(waitMs, this.#graceOver.signal);
    await Promise.race([grace, closed]);
    this.#graceOver.abort();
    for (const hold of holds) hold.cut();
    // The last lines leave before the connections are closed.
    await Promise.race([closed, this.#clock.sleep(1_000)]);
    this.#server.closeAllConnections();
    await closed;
  }
}

function checkAddress({ address, tls, token }: LockServerOptions): void {
  if (isLoopback(address)) return;
  if (tls && token !== undefined) return;
  const missing = [tls ? [] : ['TLS (a certificate and its key)'], token ? [] : ['a token']].flat();
  throw new RangeError(
    `${address} can be reached by other machines, so the lock server needs ${missing.join(' and ')} there`,
  );
}

async function newServer(tls: LockServerOptions['tls']): Promise<Server> {
  // Loaded when needed: TLS costs a start 20 ms.
  if (tls) {
    const options = { ...tls, handshakeTimeout: 10_000, connectionsCheckingInterval };
    return (await import('node:https')).createServer(options);
  }
  return (await import('node:http')).createServer({ connectionsCheckingInterval });
}
