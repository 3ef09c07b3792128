import { once } from 'node:events';
import { chmod, lstat, mkdir, rename, rm } from 'node:fs/promises';
import type { RequestListener, Server } from 'node:http';
import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { setImmediate as turnOfEventLoop } from 'node:timers/promises';

/** An HTTP server on a Unix socket. Disposing closes it with the default grace. */
export interface UnixServer extends AsyncDisposable {
  readonly path: string;
  /**
   * Takes the socket file away, lets requests in flight finish for at most `graceMs` (10 s), then
   * cuts what is left. Idempotent.
   */
  close(options?: { readonly graceMs?: number }): Promise<void>;
}

export interface UnixServerOptions {
  readonly path: string;
  /** Who may connect: 0o600 for root alone. */
  readonly mode: number;
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
  { path, mode }: UnixServerOptions,
): Promise<UnixServer> {
  await mkdir(dirname(path), { recursive: true, mode: 0o755 });
  await clearStaleSocket(path);
  const server = createServer(neverHangUp, handler);
  await listen(server, path, mode);
  const closing = connectionCloser(server);
  let closed: Promise<void> | undefined;
  const close: UnixServer['close'] = ({ graceMs = defaultGraceMs } = {}) => {
    closed ??= closing(graceMs);
    return closed;
  };
  return { path, close, [Symbol.asyncDispose]: () => close() };
}

/** Binds with the mode from the first instant: nobody else can connect before the chmod. */
async function listen(server: Server, path: string, mode: number): Promise<void> {
  const ready = once(server, 'listening');
  const umask = process.umask(0o777 & ~mode);
  try {
    // Binds before it returns; only the event comes later.
    server.listen(path);
  } finally {
    process.umask(umask);
  }
  try {
    await ready;
  } catch (error) {
    if (hasCode(error, 'EADDRINUSE')) throw new SocketInUseError(path);
    throw error;
  }
  await chmod(path, mode);
}

/**
 * Two daemons may find the same stale file at once, and the later must not remove the socket that
 * the earlier has just made: so the file is moved aside, asked again, and put back if it lives.
 */
async function clearStaleSocket(path: string): Promise<void> {
  if (!(await isThere(path))) return;
  const aside = `${path}.${process.pid}`;
  try {
    await rename(path, aside);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return;
    throw error;
  }
  if ((await probe(aside)) === 'live') {
    await rename(aside, path);
    throw new SocketInUseError(path);
  }
  await rm(aside, { force: true });
}

/** False when there is no file; throws when it is a living socket. */
async function isThere(path: string): Promise<boolean> {
  const state = await probe(path);
  if (state === 'live') throw new SocketInUseError(path);
  return state === 'stale';
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
    // libuv removes the socket file here, so that clients fail to connect (and may try again with
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

function hasCode(error: unknown, code: string): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === code;
}
