// What a command under `berth lock run` has started: real processes, against the admin API of this process
// with volumes in memory.
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { processStatSync } from '../../../lib/linux/proc.ts';
import type { AdminSocket } from '../../support/admin-socket.ts';
import { openAdminSocket } from '../../support/admin-socket.ts';
import { eventually } from '../../support/eventually.ts';
import { describeWith } from '../../support/requirements.ts';
import type { TemporaryDirectory } from '../../support/temporary-directory.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';

const program = fileURLToPath(new URL('../../../bin/berth', import.meta.url));

/** A process of the job: says who it is, ignores a hang-up, and ends when the test says so. */
const worker = `trap '' HUP; echo $$ > worker; while [ -e worker ] && [ ! -e stop ]; do sleep 0.05; done`;

let socket: AdminSocket;
let directory: TemporaryDirectory;
const children: ChildProcess[] = [];

beforeEach(async () => {
  directory = await makeTemporaryDirectory();
  socket = await openAdminSocket();
  const { signal } = new AbortController();
  await socket.volumes.create({ name: 'db', options: {} }, { signal });
});

afterEach(async () => {
  await stop();
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await socket[Symbol.asyncDispose]();
  await directory[Symbol.asyncDispose]();
});

/** Runs a shell script under the lock and waits until its worker runs. */
async function startScript(script: string) {
  const child = spawn(program, ['lock', 'run', 'db', '--', 'sh', '-c', script], {
    env: { ...process.env, BERTH_ADMIN_SOCKET: socket.path, worker },
    cwd: directory.path,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  children.push(child);
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (chunk) => {
    stderr += chunk;
  });
  const exited = once(child, 'exit').then(([code, signal]) => code ?? signal);
  await eventually(async () => expect(await workerPid()).toBeGreaterThan(0));
  return { child, exited, pid: await workerPid(), said: () => stderr };
}

const workerPid = async () => Number(await readFile(join(directory.path, 'worker'), 'utf8'));

const stop = () => writeFile(join(directory.path, 'stop'), '');

/** Returns false also for a process that has ended and that nobody has collected yet. */
function isAlive(pid: number): boolean {
  return !'ZX'.includes(processStatSync(pid)?.state ?? 'X');
}

const tickets = () => socket.n2.inspect('mount/db');

test('F2b the lock outlives a killed `lock run` as long as anything of the job', async () => {
  const { child, exited, pid } = await startScript('sh -c "$worker" & wait');
  child.kill('SIGKILL');
  expect(await exited).toBe('SIGKILL');
  for (let look = 0; look < 20; look += 1) {
    await pause(25);
    expect({ held: (await tickets()).length, writes: isAlive(pid) }).toEqual({
      held: 1,
      writes: true,
    });
  }
  await stop();
  await eventually(async () => expect(await tickets()).toEqual([]));
  expect(isAlive(pid)).toBe(false);
});

test('F2b ends also what the command has started when the lock is lost', async () => {
  const { exited, pid, said } = await startScript('sh -c "$worker" & wait');
  const [ticket] = await tickets();
  if (ticket) await socket.n2.breakLock(ticket);
  expect(await exited).toBe(1);
  expect(isAlive(pid)).toBe(false);
  expect(said()).toMatch(/^berth: volume db is no longer held: /);
});

test('F2b holds the lock for what the command has left in the background, and says so', async () => {
  const { child, exited, pid, said } = await startScript('sh -c "$worker" & exec sleep 0.1');
  await eventually(() =>
    expect(said()).toMatch(/left processes \([\d, ]+\); volume db stays locked until they end/),
  );
  expect(await tickets()).toHaveLength(1);
  expect([isAlive(pid), child.exitCode]).toEqual([true, null]);
  await stop();
  expect(await exited).toBe(0);
  await eventually(async () => expect(await tickets()).toEqual([]));
});

describeWith(['root'], 'a process that has left the tree of its command', () => {
  test('F2b is ended with the job when the daemon ends', async () => {
    const { exited, pid } = await startScript('(setsid sh -c "$worker" &); exec sleep 60');
    await socket.server.close({ graceMs: 0 });
    expect(await exited).toBe(1);
    expect(isAlive(pid)).toBe(false);
  });

  test('F2b is killed with the job when it does not end by itself', async () => {
    const stubborn = 'setsid sh -c "trap \\"\\" TERM; $worker"';
    const { exited, pid } = await startScript(`(${stubborn} &); exec sleep 60`);
    const [ticket] = await tickets();
    if (ticket) await socket.n2.breakLock(ticket);
    expect(await exited).toBe(1);
    expect(isAlive(pid)).toBe(false);
  });
});
