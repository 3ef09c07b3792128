// The exit codes and errors of the berth command, run in this process against a real admin socket
// with volumes in memory.

import { rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { InUseError, UnavailableError } from '../../../lib/volumes/errors.ts';
import type { AdminSocket } from '../../support/admin-socket.ts';
import { openAdminSocket } from '../../support/admin-socket.ts';
import type { CommandResult } from '../../support/berth-command.ts';
import { runBerth } from '../../support/berth-command.ts';
import type { MemoryVolumes } from '../../support/memory-volumes.ts';

let socket: AdminSocket;
let volumes: MemoryVolumes;
const neverAborted = { signal: new AbortController().signal };

beforeEach(async () => {
  socket = await openAdminSocket();
  ({ volumes } = socket);
  await volumes.create({ name: 'db', options: { size: '4096' } }, neverAborted);
  await volumes.snapshot({ volume: 'db', snapshot: 'monday' }, neverAborted);
});

afterEach(async () => {
  await socket[Symbol.asyncDispose]();
});

const berth = (commandLine: string, options: { path?: string; isTTY?: boolean } = {}) =>
  runBerth(commandLine, { path: socket.path, ...options });

describe('exit codes of the berth command', () => {
  test.each<[commandLine: string, exitCode: number, stderr: RegExp]>([
    [
      'volume inspect nope',
      3,
      /^berth: no such volume: nope\n {2}list the volumes: berth volume ls\n$/,
    ],
    ['volume inspect ../x', 2, /^berth: "\.\.\/x" is not a valid volume name/],
    ['snapshot rm db@nope', 3, /^berth: volume db has no snapshot nope/],
    ['snapshot create db@monday', 1, /^berth: volume db has a snapshot monday already/],
    ['volume set nope access=host', 3, /^berth: no such volume/],
    ['volume set db', 2, /missing required argument/],
    ['volume set db access', 2, /use NAME=VALUE/],
    ['volume set db access=host access=host', 2, /given twice/],
    ['lock inspect nope', 3, /^berth: no such volume/],
    [
      'lock disable nope',
      3,
      /^berth: no such volume: nope\n {2}list the volumes: berth volume ls\n$/,
    ],
    ['lock enable nope', 3, /^berth: no such volume/],
    ['lock disable db --why', 2, /option '--why <text>' argument missing/],
    ['copy db db', 1, /^berth: volume db exists/],
    ['snapshot rm db', 2, /Use VOLUME@SNAPSHOT/],
    ['lock clear db --token x', 2, /option '--token <n>' argument 'x' is invalid/],
    ['lock clear db --token 0', 2, /invalid/],
    ['lock run db --wait 5 -- true', 2, /Use 0s to 24h/],
    ['lock run db', 2, /missing required argument 'command'/],
    ['volume frob', 2, /unknown command 'frob'/],
    ['volume ls --frob', 2, /unknown option '--frob'/],
    ['volume ls extra', 2, /too many arguments/],
    ['frob', 2, /unknown command 'frob'/],
    ['volume', 2, /Usage: berth volume/],
  ])('berth %s exits with %d and says why', async (commandLine, exitCode, stderr) => {
    expect(await berth(commandLine)).toMatchObject({
      exitCode,
      stderr: expect.stringMatching(stderr),
    });
  });

  test.each([
    [4, 'in-use', new InUseError('volume db is mounted on host n2')],
    [5, 'unavailable', new UnavailableError('the store is away')],
    [1, 'internal', new TypeError('a bug')],
  ])('an operation exits with %d when the daemon answers %s', async (exitCode, code, error) => {
    volumes.faults.snapshot = () => {
      throw error;
    };
    const human = await berth('snapshot create db');
    expect(human.exitCode).toBe(exitCode);
    expect(human.stderr).toContain(error.message);
    const json = await berth('snapshot create db --json');
    expect(json.exitCode).toBe(exitCode);
    expect(JSON.parse(json.stderr)).toMatchObject({ error: { code } });
  });

  test('an operation that fails after its first event exits like one that fails at once', async () => {
    volumes.faults.copy = (context) => {
      context?.onProgress?.({ doneBytes: 1, totalBytes: 2, doneFiles: 0, totalFiles: 1 });
      throw new InUseError('volume db is mounted on host n2');
    };
    expect(await berth('copy db db2')).toMatchObject({
      exitCode: 4,
      stderr: expect.stringMatching(/^berth: volume db is mounted on host n2\n/),
    });
  });

  test('status exits with 5 while the store does not answer', async () => {
    socket.store.reachable = false;
    expect(await berth('status')).toMatchObject({
      exitCode: 5,
      stdout: expect.stringContaining('embedded, NOT REACHABLE'),
    });
  });

  test('--help exits with 0', async () => {
    expect(await berth('--help')).toMatchObject({ exitCode: 0, stderr: '' });
    expect(await berth('lock run --help')).toMatchObject({ exitCode: 0, stderr: '' });
  });
});

describe('a daemon that does not answer', () => {
  test('berth exits with 5 and says how to start the daemon', async () => {
    const { exitCode, stderr } = await berth('volume ls', { path: `${socket.path}-not` });
    expect(exitCode).toBe(5);
    expect(stderr).toBe(
      `berth: no daemon answers on ${socket.path}-not (ENOENT)\n` +
        '  start the daemon: berth serve\n' +
        '  or name its socket: --admin-socket PATH, or BERTH_ADMIN_SOCKET\n',
    );
  });

  test('--admin-socket names another socket', async () => {
    const path = `${socket.path}-not`;
    const { stdout } = await berth(`volume ls --admin-socket ${socket.path}`, { path });
    expect(stdout).toContain('db');
  });

  test.each([
    ['{"message":"page not found"}', 404],
    ['<html>', 404],
    ['<html>', 200],
  ])('berth reports another program that answers %s (%d)', async (body, status) => {
    const { exitCode, stderr } = await berthWithOther('volume ls', status, body);
    expect(exitCode).toBe(5);
    expect(stderr).toContain('the program that answers is not berth');
  });

  test('berth reports an answer that ends too early', async () => {
    const progress =
      '{"event":"progress","doneBytes":1,"totalBytes":2,"doneFiles":0,"totalFiles":1}\n';
    const { exitCode, stderr } = await berthWithOther('copy db db2', 200, progress);
    expect(exitCode).toBe(5);
    expect(stderr).toContain('it stopped before the end');
  });

  test('berth reports a daemon that ends during an operation', async () => {
    volumes.faults.copy = (context) => {
      context?.onProgress?.({ doneBytes: 1, totalBytes: 2, doneFiles: 0, totalFiles: 1 });
      void socket.server.close({ graceMs: 20 });
      return new Promise(() => {});
    };
    expect(await berth('copy db db2')).toMatchObject({
      exitCode: 5,
      stderr: expect.stringMatching(/^berth: no daemon answers on/),
    });
  });
});

/** Runs a command line against a server that gives the same answer to every request. */
async function berthWithOther(
  commandLine: string,
  status: number,
  body: string,
): Promise<CommandResult> {
  const path = join(socket.path, '..', 'other.sock');
  const other = createServer((_request, response) => response.writeHead(status).end(body));
  await new Promise<void>((resolve) => other.listen(path, resolve));
  try {
    return await berth(commandLine, { path });
  } finally {
    other.close();
    rmSync(path, { force: true });
  }
}
