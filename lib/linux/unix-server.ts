import { once } from 'node:events';
import { lstat, mkdir, rm } from 'node:fs/promises';
import type { RequestListener, Server } from 'node:http';
import type { Server as NetServer, Socket } from 'node:net';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { setImmediate as turnOfEventLoop } from 'node:timers/promises';
import { hasCode } from './error-code.ts';
import { oneAtATime } from './one-at-a-time.ts';
import { http } from './unix-call.ts';

/** An HTTP server on a Unix socket. Disposing closes it with the default grace. */
export interface UnixServer extends AsyncDisposable {
  readonly path: string;
  /**
   * Removes the socket file (an inherited one stays: clients that connect wait for the next
   * server), lets requests in flight finish for at most `graceMs` (10 s), then closes all
   * connections. Idempotent.
   */
  close(options?: { readonly graceMs?: number }): Promise<void>;
}

export interface UnixServerOptions {
  readonly path: string;
  /** The mode of the socket file, 0o600 for root alone. */
  readonly mode: number;
  /** The descriptor of a socket that listens on the path already, and whose file stays. */
  readonly inheritedFd?: number | undefined;
}

/** Another process serves on the socket; nothing was changed. */
export class SocketInUseError extends Error {
  override readonly name = 'SocketInUseError';
  readonly path: string;
  constructor(path: string) {
    super(`another berth is serving on ${path}: stop it, or give this one another socket`);
    this.path = path;
  }
}

const defaultGraceMs = 10_000;

/** Ends the name of the file, beside the socket, that is locked while the socket is made. */
const lockSuffix = '.lock';

/**
 * Turns off each of Node's limits for idle connections. The engine keeps idle connections for ever
 * (or 30 s), and sometimes opens one that it does not use at once. If a server closes a connection
 * just as a request arrives, the engine repeats the request with an empty body.
 */
const neverHangUp = { keepAliveTimeout: 0, headersTimeout: 0, requestTimeout: 0 };

/**
 * Serves on a Unix socket; makes its directory if it is missing. Replaces a socket file that no
 * process serves any more; rejects SocketInUseError if one does.
 */
export async function listenOnUnixSocket(
  handler: RequestListener,
  { path, mode, inheritedFd }: UnixServerOptions,
): Promise<UnixServer> {
  const server = http.createServer(neverHangUp, handler);
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
  // Two daemons may find the same stale file at once, and the later one would remove the socket that the
  // earlier one has just made.
  await oneAtATime(path + lockSuffix, async () => {
    await clearStaleSocket(path);
    await listen(server, path, mode);
  });
}

/** Creates the socket with its mode: a later chmod would leave a moment with another mode. */
async function listen(server: Server, path: string, mode: number): Promise<void> {
  const umask = process.umask(0o777 & ~mode);
  // The file exists when `listen` returns; only the event comes later.
  const bound = bind(server, { path });
  process.umask(umask);
  try {
    await bound;
  } catch (error) {
    if (hasCode(error, 'EADDRINUSE')) throw new SocketInUseError(path);
    throw error;
  }
}

/** Removes a socket file that no process serves any more; rejects if one does. */
async function clearStaleSocket(path: string): Promise<void> {
  const state = await probe(path);
  if (state === 'live') throw new SocketInUseError(path);
  if (state === 'stale') await rm(path, { force: true });
}

type Address = { readonly path: string } | { readonly fd: number };

async function bind(server: NetServer, address: Address): Promise<void> {
  const listening = once(server, 'listening');
  server.listen(address);
  await listening;
}

/** Answers `stale` only when no process can be listening; throws an error that may pass. */
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
    // The queue of connections is full, so a process listens.
    if (hasCode(error, 'EAGAIN')) return 'live';
    throw error;
  } finally {
    socket.destroy();
  }
}

/** Guards plain files: the kernel refuses a connection to one as it does to a stale socket. */
async function isSocketOrAbsent(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isSocket();
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return true;
    throw error;
  }
}

/**
 * Counts the requests of each connection, and returns what closes the server. Node's own closing
 * spares connections that were opened and never used, and the engine sometimes has one.
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
    // libuv removes a socket file that it made. Clients then fail to connect, and can repeat the
    // whole request, instead of losing a connection. Used idle connections end as well.
    server.close();
    const cut = setTimeout(() => server.closeAllConnections(), graceMs);
    // Requests that have arrived are read in this turn of the event loop and count as in flight.
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
