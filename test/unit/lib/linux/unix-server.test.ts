// Serving HTTP on a Unix socket: stale sockets, idle connections, orderly close. Real sockets, real
// time.

import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import type { RequestListener } from 'node:http';
import type { Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { UnixServer } from '../../../../lib/linux/unix-server.ts';
import { listenOnUnixSocket, SocketInUseError } from '../../../../lib/linux/unix-server.ts';

let dir: string;
let path: string;
const servers: UnixServer[] = [];
const sockets: Socket[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-'));
  path = join(dir, 'a', 'b', 'berth.sock');
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const server of servers.splice(0)) await server.close({ graceMs: 0 });
  rmSync(dir, { recursive: true });
});

async function serve(handler: RequestListener = answer, mode = 0o600): Promise<UnixServer> {
  const server = await listenOnUnixSocket(handler, { path, mode });
  servers.push(server);
  return server;
}

const answer: RequestListener = (_request, response) => {
  response.end('ok');
};

async function open(): Promise<Socket> {
  const socket = connect(path);
  sockets.push(socket);
  await once(socket, 'connect');
  return socket.setEncoding('utf8');
}

/** Sends one request on a connection that stays open; returns the whole answer. */
async function ask(socket: Socket): Promise<string> {
  socket.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n');
  const [text] = await once(socket, 'data');
  return String(text);
}

/** Leaves a socket file on which nothing listens, as a killed daemon does. */
async function leaveStaleSocket(): Promise<void> {
  mkdirSync(dirname(path), { recursive: true });
  const server = createServer().listen(path);
  await once(server, 'listening');
  // Closing removes the file only under its original name.
  renameSync(path, `${path}-kept`);
  server.close();
  renameSync(`${path}-kept`, path);
}

/** Checks that closing ends well before the grace period. */
async function expectSoon(closing: Promise<void>): Promise<void> {
  const start = performance.now();
  await closing;
  expect(performance.now() - start).toBeLessThan(4_500);
}

test.each([0o600, 0o660])('makes the directory, and the socket with mode %o', async (mode) => {
  await serve(answer, mode);
  expect(statSync(path).mode & 0o777).toBe(mode);
  expect(await ask(await open())).toContain('200 OK');
});

test('replaces a stale socket', async () => {
  await leaveStaleSocket();
  await serve();
  expect(await ask(await open())).toContain('200 OK');
});

test('refuses a socket on which another process listens, and keeps the file', async () => {
  await serve();
  await expect(serve()).rejects.toThrow(SocketInUseError);
  await expect(serve()).rejects.toThrow(`another berth is serving on ${path}`);
  expect(await ask(await open())).toContain('200 OK');
});

test('of several servers that find the same stale socket, one serves', async () => {
  for (let round = 0; round < 12; round++) {
    await leaveStaleSocket();
    const starts = [0, 0, 0, 1, 1, 2].map(async (ms) => {
      await delay(ms);
      return serve();
    });
    const results = await Promise.allSettled(starts);
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(await ask(await open())).toContain('200 OK');
    expect(readdirSync(dirname(path))).toEqual(['berth.sock', 'berth.sock.lock']);
    await servers.pop()?.close({ graceMs: 0 });
  }
});

test('waits for the lock file of another start, which no other user can open', async () => {
  const order: string[] = [];
  await serve().then((server) => server.close({ graceMs: 0 }));
  const lock = `${path}.lock`;
  expect(statSync(lock).mode & 0o777).toBe(0o600);
  const other = new DatabaseSync(lock);
  other.exec('BEGIN EXCLUSIVE');
  const starting = serve().then(() => order.push('served'));
  await delay(200);
  order.push('released');
  other.close();
  await starting;
  expect(order).toEqual(['released', 'served']);
  chmodSync(dir, 0o755);
  for (const user of process.geteuid?.() === 0 ? ['65534'] : []) {
    const as = ['--reuid', user, '--regid', user, '--clear-groups'];
    const { status, stderr } = spawnSync('setpriv', [...as, 'flock', '-s', '-n', lock, 'true']);
    expect([status, String(stderr)]).toEqual([66, expect.stringContaining('Permission denied')]);
  }
});

test('refuses a lock file that leads elsewhere', async () => {
  mkdirSync(dirname(path), { recursive: true });
  symlinkSync(join(dir, 'elsewhere'), `${path}.lock`);
  await expect(serve()).rejects.toThrow('is not a file of this user');
  expect(existsSync(join(dir, 'elsewhere'))).toBe(false);
});

test('never removes a file that is not a socket', async () => {
  path = join(dir, 'precious');
  writeFileSync(path, 'data');
  await expect(serve()).rejects.toThrow('is not a socket');
  expect(statSync(path).isFile()).toBe(true);
});

test('promises no time limit for an idle connection', async () => {
  await serve();
  const socket = await open();
  const first = await ask(socket);
  expect(first).toContain('Connection: keep-alive');
  expect(first).not.toContain('timeout=');
  expect(await ask(socket)).toContain('200 OK');
});

test('closing ends idle connections and removes the socket file', async () => {
  const server = await serve();
  const [used, unused] = [await open(), await open()];
  await ask(used);
  const ended = Promise.all([once(used, 'close'), once(unused, 'close')]);
  await expectSoon(server.close());
  await ended;
  expect(existsSync(path)).toBe(false);
});

test('closing lets a request in flight finish, and accepts no other', async () => {
  const inFlight = Promise.withResolvers<void>();
  const finish = Promise.withResolvers<void>();
  const server = await serve(async (_request, response) => {
    inFlight.resolve();
    await finish.promise;
    response.end('done late');
  });
  const answered = ask(await open());
  await inFlight.promise;
  const closed = server.close();
  await expect(open()).rejects.toThrow('ENOENT');
  await delay(20);
  finish.resolve();
  expect(await answered).toContain('done late');
  await expectSoon(closed);
});

test('closing cuts a request that exceeds the grace period', async () => {
  const inFlight = Promise.withResolvers<void>();
  const server = await serve(() => inFlight.resolve());
  const socket = await open();
  socket.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n');
  await inFlight.promise;
  const ended = once(socket, 'close');
  await server.close({ graceMs: 20 });
  await ended;
});
