import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { lstat, mkdir, rm } from 'node:fs/promises';
import type { RequestListener, Server } from 'node:http';
import { createServer } from 'node:http';
import type { Server as NetServer, Socket } from 'node:net';
import { connect, createServer as createNetServer } from 'node:net';
import { dirname } from 'node:path';
import { setTimeout as delay, setImmediate as turnOfEventLoop } from 'node:timers/promises';
import { hasCode } from './error-code.ts';

/** An HTTP server on a Unix socket. Disposing closes it with the default grace. */
export interface UnixServer extends AsyncDisposable {
  readonly path: string;
  /**
   * Takes the socket file away (an inherited one stays: whoever connects waits for the next
   * server), lets requests in flight finish for at most `graceMs` (10 s), then cuts what is left.
   * Idempotent.
   */
  close(options?: { readonly graceMs?: number }): Promise<void>;
}

export interface UnixServerOptions {
  readonly path: string;
  /** Who may connect: 0o600 for root alone. */
  readonly mode: number;
  /** The descriptor of a socket that listens on the path already; its file is another's. */
  readonly inheritedFd?: number | undefined;
}

/** A living process serves on the socket already; it was left alone. */
export class SocketInUseError extends Error {
  override readonly name = 'SocketInUseError';
  readonly path: string;
  constructor(path: string) {
    super(`another berth is serving on ${path}: stop it, or give this one another socket`);
    this.path = path;
  }
}

const defaultGraceMs = 10_000;

/**
 * The engine keeps idle connections for ever (or 30 s), and now and then opens one it does not use
 * at once. A server that closes a connection just as a request comes makes the engine repeat the
 * request with an empty body, so every limit of Node's that ends an idle connection is off.
 */
const neverHangUp = { keepAliveTimeout: 0, headersTimeout: 0, requestTimeout: 0 };

/**
 * Serves on a Unix socket, making its directory when missing. A socket file that nobody serves any
 * more is replaced; rejects SocketInUseError when somebody does.
 */
export async function listenOnUnixSocket(
  handler: RequestListener,
  { path, mode, inheritedFd }: UnixServerOptions,
): Promise<UnixServer> {
  const server = createServer(neverHangUp, handler);
  if (inheritedFd === undefined) await makeSocket(server, path, mode);
  else await bind(server, { fd: inheritedFd });
  const closing = connectionCloser(server);
  let closed: Promise<void> | undefined;
  const close: UnixServer['close'] = ({ graceMs = defaultGraceMs } = {}) => {
    closed ??= closing(graceMs);
    return closed;
  };
  return { path, close, [Symbol.asyncDispose]: () => close() };
}

async function makeSocket(server: Server, path: string, mode: number): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o755 });
  await oneAtATime(path, async () => {
    await clearStaleSocket(path);
    await listen(server, path, mode);
  });
}

/** Makes the socket with its mode from the first instant: after a chmod it would be too late. */
async function listen(server: Server, path: string, mode: number): Promise<void> {
  const umask = process.umask(0o777 & ~mode);
  // Makes the file before it returns; only the event comes later.
  const bound = bind(server, { path });
  process.umask(umask);
  try {
    await bound;
  } catch (error) {
    if (hasCode(error, 'EADDRINUSE')) throw new SocketInUseError(path);
    throw error;
  }
}

/** Removes a socket file that nobody serves any more; rejects when somebody does. */
async function clearStaleSocket(path: string): Promise<void> {
  const state = await probe(path);
  if (state === 'live') throw new SocketInUseError(path);
  if (state === 'stale') await rm(path, { force: true });
}

/**
 * Two daemons may find the same stale file at once, and the later would remove the socket that the
 * earlier has just made. So they go one by one. An abstract socket does it: the kernel binds a name
 * once, and forgets it with the process.
 */
async function oneAtATime<T>(path: string, work: () => Promise<T>): Promise<T> {
  const turn = createHash('sha256').update(path).digest('hex').slice(0, 32);
  const end = performance.now() + turnLimitMs;
  for (;;) {
    const mutex = createNetServer();
    try {
      await bind(mutex, { path: `\0berth-${turn}` });
    } catch (error) {
      if (!hasCode(error, 'EADDRINUSE')) throw error;
      // Anybody on the machine can take the name, so it must not keep us out for ever.
      if (performance.now() > end) return work();
      await delay(10);
      continue;
    }
    try {
      return await work();
    } finally {
      mutex.close();
    }
  }
}

/** Far longer than a start holds it. */
const turnLimitMs = 2_000;

type Address = { readonly path: string } | { readonly fd: number };

async function bind(server: NetServer, address: Address): Promise<void> {
  const listening = once(server, 'listening');
  server.listen(address);
  await listening;
}

/** `stale` only when nobody can be listening; an error that may pass is thrown. */
async function probe(path: string): Promise<'live' | 'stale' | 'absent'> {
  if (!(await isSocketOrAbsent(path))) {
    throw new Error(`${path} is not a socket: move it away, or use another path`);
  }
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return 'live';
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return 'absent';
    if (hasCode(error, 'ECONNREFUSED')) return 'stale';
    // Its queue of connections is full: somebody is there.
    if (hasCode(error, 'EAGAIN')) return 'live';
    throw error;
  } finally {
    socket.destroy();
  }
}

/** The kernel refuses connections to a plain file as to a stale socket; only the latter may go. */
async function isSocketOrAbsent(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isSocket();
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return true;
    throw error;
  }
}

/**
 * Node's own closing spares connections that were opened and never used, which the engine has now
 * and then, so requests are counted here.
 */
function connectionCloser(server: Server): (graceMs: number) => Promise<void> {
  const requests = new Map<Socket, number>();
  let isClosing = false;
  const count = (socket: Socket, change: number) => {
    const before = requests.get(socket);
    if (before === undefined) return;
    const left = before + change;
    requests.set(socket, left);
    if (isClosing && left === 0) socket.end();
  };
  server.on('connection', (socket) => {
    requests.set(socket, 0);
    socket.once('close', () => requests.delete(socket));
  });
  server.prependListener('request', ({ socket }, response) => {
    count(socket, 1);
    response.once('close', () => count(socket, -1));
  });
  return async (graceMs) => {
    if (!server.listening) return;
    const drained = once(server, 'close');
    // libuv removes a socket file that it made here, so that clients fail to connect (and may try again with
    // their request whole) instead of losing a connection. Used idle connections end as well.
    server.close();
    const cut = setTimeout(() => server.closeAllConnections(), graceMs);
    // What has arrived already is read in this turn of the event loop and counts as in flight.
    await turnOfEventLoop();
    isClosing = true;
    for (const [socket, inFlight] of requests) if (inFlight === 0) socket.end();
    try {
      await drained;
    } finally {
      clearTimeout(cut);
    }
  };
}
