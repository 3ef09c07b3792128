// Links of /proc that lead to real directories, some of them deeper than the longest path.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { pathOfLink, tooLong } from '../../../../lib/linux/link-paths.ts';
import { placeAt } from '../../../../lib/linux/task-files.ts';
import { listenersOn } from '../../../../lib/linux/unix-listeners.ts';
import { isBelowInode } from '../../../../sentinel/scan/links.ts';
import { makeTemporaryDirectory } from '../../../support/temporary-directory.ts';

/** Makes 400 directories, one in the other, stays in the last, and opens a file there. */
const holder = `
  const fs = require('node:fs');
  for (let each = 0; each < 400; each += 1) {
    fs.mkdirSync('deep-directory');
    process.chdir('deep-directory');
  }
  console.log(fs.openSync('file', 'w'));
  setInterval(() => {}, 1000);`;

describe('a process that holds a directory and a file whose paths are too long', () => {
  const stack = new AsyncDisposableStack();
  let top: string;
  let pid: number;
  let file: string;
  const link = (name: string) => `/proc/${pid}/${name}`;
  beforeAll(async () => {
    top = (await makeTemporaryDirectory()).path;
    // The program goes down by descriptors; Node's own rm builds paths.
    stack.defer(() => void execFileSync('rm', ['-rf', '--', top]));
    const stdio: ['ignore', 'pipe', 'inherit'] = ['ignore', 'pipe', 'inherit'];
    const child = spawn(process.execPath, ['-e', holder], { cwd: top, stdio });
    stack.defer(() => void child.kill('SIGKILL'));
    pid = child.pid ?? 0;
    file = String((await once(child.stdout, 'data'))[0]).trim();
  });
  afterAll(() => stack.disposeAsync());

  test('neither has a path', () => {
    expect(pathOfLink(link('cwd'))).toBe(tooLong);
    expect(pathOfLink(link(`fd/${file}`))).toBe(tooLong);
    expect(pathOfLink(link('root'))).toBe('/');
  });

  test('a directory that is too deep to tell counts as below, one near the top does not', () => {
    const inode = (path: string) => placeAt(path)?.inode ?? '';
    expect(isBelowInode(link('cwd'), inode(top))).toBe(true);
    expect(isBelowInode(top, inode('/proc'))).toBe(false);
  });

  test('who listens on a socket is found beside it', async () => {
    await using directory = await makeTemporaryDirectory();
    const path = join(directory.path, 'socket');
    const server = createServer().listen(path);
    await once(server, 'listening');
    expect(await listenersOn(path)).toEqual([process.pid]);
    server.close();
  });
});

test('what has no place has no path', () => {
  expect(pathOfLink('/proc/self/ns/mnt')).toBeUndefined();
  expect(pathOfLink('/proc/self/fd/100000')).toBeUndefined();
});
