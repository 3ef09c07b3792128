// Who listens on a Unix socket: this process and children of it, and lines as kernels write them.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import type { Server } from 'node:net';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { listenersOn, listeningSockets } from '../../../../lib/linux/unix-listeners.ts';
import type { TemporaryDirectory } from '../../../support/temporary-directory.ts';
import { makeTemporaryDirectory } from '../../../support/temporary-directory.ts';

let directory: TemporaryDirectory;
let path: string;
let server: Server;
beforeEach(async () => {
  directory = await makeTemporaryDirectory();
  path = join(directory.path, 'a socket');
  server = createServer();
});
afterEach(async () => {
  server.close();
  await directory[Symbol.asyncDispose]();
});

async function listen(): Promise<void> {
  server.listen(path);
  await once(server, 'listening');
}

test('finds the process that listens, by the path of its socket', async () => {
  await listen();
  expect(await listenersOn(path)).toEqual([process.pid]);
  expect(await listenersOn(join(directory.path, 'a'))).toEqual([]);
});

test('finds it also when the socket file was removed', async () => {
  await listen();
  await rm(path);
  expect(await listenersOn(path)).toEqual([process.pid]);
});

test('finds each of several, also one that is stopped', async () => {
  const script = `require('node:net').createServer().listen(process.argv[1], () => console.log())`;
  const child = spawn(process.execPath, ['-e', script, path]);
  try {
    await once(child.stdout, 'data');
    child.kill('SIGSTOP');
    await rm(path);
    await listen();
    expect((await listenersOn(path)).sort()).toEqual([process.pid, child.pid].sort());
  } finally {
    child.kill('SIGKILL');
  }
});

test('finds nobody when the server has ended, and where there is no file', async () => {
  await listen();
  server.close();
  await once(server, 'close');
  expect(await listenersOn(path)).toEqual([]);
});

test('reads the list of sockets: only those that listen, on exactly this path', () => {
  const text = `Num       RefCount Protocol Flags    Type St Inode Path
ffff9d1c40f3c400: 00000002 00000000 00010000 0001 01 21001 /run/berth/s
ffff9d1c40f3c800: 00000003 00000000 00000000 0001 03 21002 /run/berth/s
ffff9d1c40f3cc00: 00000002 00000000 00010000 0001 01  2103 /run/berth/s
0000000000000000: 00000002 00000000 00010000 0001 01 21004 /run/berth/s x
0000000000000000: 00000002 00000000 00010000 0001 01 21005 @berth/s
0000000000000000: 00000003 00000000 00000000 0002 01 21006
`;
  expect([...listeningSockets(text, '/run/berth/s')]).toEqual(['21001', '2103']);
  expect([...listeningSockets(text, '/run/berth/s x')]).toEqual(['21004']);
});
