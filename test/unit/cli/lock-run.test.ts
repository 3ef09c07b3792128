// `berth lock run` in this process, against an admin socket with volumes in memory.
// test/e2e/command runs it as a process, for signals and output.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { AdminSocket } from '../../support/admin-socket.ts';
import { openAdminSocket } from '../../support/admin-socket.ts';
import { runBerth } from '../../support/berth-command.ts';
import type { TemporaryDirectory } from '../../support/temporary-directory.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';

let socket: AdminSocket;
let directory: TemporaryDirectory;
/** A file that the command under the lock would create. */
let proof: string;

beforeEach(async () => {
  directory = await makeTemporaryDirectory();
  proof = join(directory.path, 'ran');
  socket = await openAdminSocket();
  const { signal } = new AbortController();
  await socket.volumes.create({ name: 'db', options: {} }, { signal });
});

afterEach(async () => {
  await socket[Symbol.asyncDispose]();
  await directory[Symbol.asyncDispose]();
});

const berth = (commandLine: string) => runBerth(commandLine, socket);

const tickets = () => socket.n2.inspect('mount/db');

test.each([
  ['not-a-program', 127],
  ['/etc/passwd', 126],
])("lock run reports that %s can't be executed", async (file, exitCode) => {
  expect(await berth(`lock run db -- ${file}`)).toMatchObject({
    exitCode,
    stderr: expect.stringContaining(`berth: can't run ${file}`),
  });
  expect(await tickets()).toEqual([]);
});

test("lock run exits with 4, names the holder and runs nothing when it can't get the lock in time", async () => {
  await using _lock = await socket.n2.lock([{ name: 'mount/db', mode: 'exclusive' }], {
    reason: 'Mount',
  });
  const { exitCode, stderr } = await berth(`lock run db --wait 0s -- touch ${proof}`);
  expect(exitCode).toBe(4);
  expect(existsSync(proof)).toBe(false);
  expect(stderr).toMatch(/^berth: .*held: host n2 \(Mount, since .*\)\n/);
  expect(stderr).toContain('berth lock inspect db');
});

test('lock run exits with 4 and runs nothing if the volume is disabled, and says who disabled it and why', async () => {
  await socket.n2.disable('mount/db', { why: 'upgrade' });
  const { exitCode, stderr } = await berth(`lock run db -- touch ${proof}`);
  expect(exitCode).toBe(4);
  expect(existsSync(proof)).toBe(false);
  expect(stderr).toMatch(
    /^berth: volume db is disabled by host n2 since \S+Z \(upgrade\); enable it again with: berth lock enable db\n$/,
  );
});

test('lock run exits with 3 for a volume that does not exist', async () => {
  expect(await berth(`lock run nope -- touch ${proof}`)).toMatchObject({ exitCode: 3 });
  expect(existsSync(proof)).toBe(false);
});
