// The lock commands with --store, in this process, on a file of the lock library; the commands that they
// run are real.
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { OpenedLocks } from '../../../lib/lock/open/open-locks.ts';
import { openLocks } from '../../../lib/lock/open/open-locks.ts';
import { runBerth } from '../../support/berth-command.ts';
import { waitFor } from '../../support/processes.ts';
import type { TemporaryDirectory } from '../../support/temporary-directory.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';

let directory: TemporaryDirectory;
let file: string;
let other: OpenedLocks;
/** A file that the command under the lock would create. */
let proof: string;

beforeEach(async () => {
  directory = await makeTemporaryDirectory();
  file = join(directory.path, 'locks.db');
  proof = join(directory.path, 'ran');
  other = await openLocks(file, { host: 'n2', reason: 'Deploy' });
});

afterEach(async () => {
  await other.close();
  await directory[Symbol.asyncDispose]();
});

const berth = (commandLine: string) =>
  runBerth(commandLine.replace(' --', ` --store ${file} --`).trim(), { path: '/no/daemon' });
/** Runs a command line that has no command to run. */
const plain = (commandLine: string) =>
  runBerth(`${commandLine} --store ${file}`, { path: '/no/daemon' });

test('run passes on the exit code of its command, which knows the token, and releases the lock', async () => {
  const script = join(directory.path, 'script');
  const before = await other.lock('nightly');
  await before.unlock();
  expect(await berth(`lock run nightly -- /bin/sh -c /usr/bin/printenv>${script}`)).toMatchObject({
    exitCode: 0,
  });
  const token = Number(/^BERTH_LOCK_TOKEN=(\d+)$/m.exec(await readFile(script, 'utf8'))?.[1]);
  expect(token).toBeGreaterThan(before.token);
  expect(await berth('lock run nightly -- /bin/false')).toMatchObject({ exitCode: 1 });
  expect(await berth('lock run nightly -- not-a-program')).toMatchObject({ exitCode: 127 });
  expect(await other.list()).toEqual([]);
});

test('run exits with 4, names the holder and runs nothing when another has the lock', async () => {
  await using held = await other.lock('nightly');
  const { exitCode, stderr } = await berth(`lock run nightly --wait 0s -- /usr/bin/touch ${proof}`);
  expect(exitCode).toBe(4);
  expect(stderr).toMatch(
    new RegExp(`^berth: nightly is held: host n2 \\(Deploy, since .*, token ${held.token}\\)\n`),
  );
  expect(stderr).toContain('berth lock inspect NAME --store URL');
  expect(existsSync(proof)).toBe(false);
});

test('run waits for its turn, and says for whom', async () => {
  const held = await other.lock('nightly');
  const running = berth(`lock run nightly -- /usr/bin/touch ${proof}`);
  await waitFor(async () => (await other.inspect('nightly')).length === 2, 5_000, 'it to wait');
  expect(existsSync(proof)).toBe(false);
  await held.unlock();
  expect(await running).toMatchObject({
    exitCode: 0,
    stderr: expect.stringMatching(/^waiting for host n2 \(Deploy\) since .*, token \d+\n$/),
  });
  expect(existsSync(proof)).toBe(true);
});

test('run with --shared shares the lock, and no exclusive one', async () => {
  await using _ = await other.lock([{ name: 'nightly', mode: 'shared' }]);
  expect(await berth('lock run nightly --shared --wait 0s -- /bin/true')).toMatchObject({
    exitCode: 0,
  });
  expect(await berth('lock run nightly --wait 0s -- /bin/true')).toMatchObject({ exitCode: 4 });
});

test('run with --permits runs as many commands at once as there are permits', async () => {
  await using _ = await other.lock({ name: 'nightly', permits: 2 });
  const run = 'lock run nightly --permits';
  expect(await berth(`${run} 2 --wait 0s -- /bin/true`)).toMatchObject({ exitCode: 0 });
  await using second = await other.lock({ name: 'nightly', permits: 2 });
  const full = await berth(`${run} 2 --wait 0s -- /usr/bin/touch ${proof}`);
  expect(full.exitCode).toBe(4);
  expect(full.stderr).toMatch(/^berth: nightly is held: host n2 .*; host n2 .*\n/);
  const { exitCode, stderr } = await berth(`${run} 3 -- /usr/bin/touch ${proof}`);
  expect(exitCode).toBe(4);
  expect(stderr).toMatch(/nightly has 2 permits, and this request says 3: .* by host n2 \(Deploy/);
  expect(existsSync(proof)).toBe(false);

  const waiting = other.lock({ name: 'nightly', permits: 2 });
  await waitFor(async () => (await other.inspect('nightly')).length === 3, 5_000, 'it to wait');
  const { stdout } = await plain('lock inspect nightly');
  for (const row of ['permit 1 of 2 +held', 'permit 2 of 2 +held', 'permit of 2 +waiting']) {
    expect(stdout).toMatch(new RegExp(`\nnightly +${row} +n2 `));
  }
  expect(JSON.parse((await plain('lock ls --json')).stdout).locks[0]).toMatchObject({
    ...{ lock: 'nightly', mode: 'permit', permits: 2 },
  });
  await second.unlock();
  await (await waiting).unlock();
});

test('run ends its command when the lock is lost', async () => {
  const running = berth('lock run nightly -- /bin/sleep 600');
  await waitFor(async () => (await other.inspect('nightly')).length === 1, 5_000, 'it to hold');
  expect((await plain('lock clear nightly')).exitCode).toBe(2);
  const [ticket] = await other.inspect('nightly');
  expect(await plain(`lock clear nightly --token ${ticket?.token}`)).toMatchObject({
    exitCode: 4,
    stderr: expect.stringContaining('the holder of lock nightly is alive: host'),
  });
  expect(await plain(`lock clear nightly --token ${ticket?.token} --force`)).toMatchObject({
    exitCode: 0,
    stdout: expect.stringContaining('cleared the lock of host'),
  });
  const { exitCode, stderr } = await running;
  expect(exitCode).toBe(1);
  expect(stderr).toContain('ending the command, because another may get the lock');
});

test('ls and inspect show holders, waiters and disabled locks of the store', async () => {
  await using held = await other.lock([
    { name: 'a', mode: 'exclusive' },
    { name: 'b', mode: 'shared' },
  ]);
  expect(await plain('lock disable c --why upgrade')).toMatchObject({
    exitCode: 0,
    stdout: expect.stringMatching(/^lock c is disabled by host .*: upgrade\n$/),
  });
  const { stdout } = await plain('lock ls');
  expect(stdout).toMatch(/^LOCK +MODE +STATE +HOST +REASON +SINCE +TOKEN +DETAIL\n/);
  expect(stdout).toMatch(new RegExp(`\na +exclusive +held +n2 +Deploy +.* +${held.token}\n`));
  expect(stdout).toMatch(/\nb +shared +held +n2 /);
  expect(stdout).toMatch(/\nDISABLED +BY +SINCE +WHY\nc +.*upgrade\n$/);
  expect((await plain('lock inspect free')).stdout).toBe('nobody holds lock free\n');
  expect(JSON.parse((await plain('lock ls --json')).stdout)).toMatchObject({
    locks: [{ lock: 'a' }, { lock: 'b' }],
    gates: [{ lockName: 'c', why: 'upgrade' }],
  });
  expect(await berth(`lock run c -- /usr/bin/touch ${proof}`)).toMatchObject({ exitCode: 4 });
  expect((await plain('lock enable c')).stdout).toBe('lock c is enabled\n');
});

test.each([
  ['lock ls --store nonsense:', 2, /there is no store nonsense:/],
  ['lock run db --shared -- /bin/true', 2, /--shared, --permits and --ttl need --store/],
  ['lock run db --permits 2 -- /bin/true', 2, /--shared, --permits and --ttl need --store/],
  ['lock run db --permits 2 --shared --store FILE -- /bin/true', 2, /exclude each other/],
  ['lock run db --permits 0 --store FILE -- /bin/true', 2, /lock db can have 1 to 1000 permits/],
  ['lock run db --permits many --store FILE -- /bin/true', 2, /1 to 1000 permits, not NaN/],
  [`lock clear db --token 7 --store FILE`, 3, /nobody has lock db with token 7/],
  ['lock ls --store etcd://127.0.0.1:1', 5, /etcd does not answer/],
])('%s exits with %d', async (commandLine, exitCode, message) => {
  const answer = await runBerth(commandLine.replace('FILE', file), { path: '/no/daemon' });
  expect(answer).toMatchObject({ exitCode, stderr: expect.stringMatching(message) });
});
