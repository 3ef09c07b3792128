// `berth lock run` as a real process, against the admin API of this process with volumes in memory.

import type { ChildProcess } from 'node:child_process';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { AdminSocket } from '../../support/admin-socket.ts';
import { openAdminSocket } from '../../support/admin-socket.ts';
import { eventually } from '../../support/eventually.ts';

const program = fileURLToPath(new URL('../../../bin/berth', import.meta.url));

let socket: AdminSocket;
const children: ChildProcess[] = [];

beforeEach(async () => {
  socket = await openAdminSocket();
  const { signal } = new AbortController();
  await socket.volumes.create({ name: 'db', options: {} }, { signal });
});

afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await socket[Symbol.asyncDispose]();
});

function start(args: readonly string[], file = program) {
  const child = spawn(file, args, {
    env: { ...process.env, BERTH_ADMIN_SOCKET: socket.path },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  const ended = Promise.all([
    once(child, 'exit').then(([code, signal]) => code ?? signal),
    text(child.stdout),
    text(child.stderr),
  ]).then(([exitCode, stdout, stderr]) => ({ exitCode, stdout, stderr }));
  return { child, ended };
}

const lockRun = (...args: string[]) => start(['lock', 'run', 'db', ...args]);

/** Runs a shell script under the lock and waits until it prints `ready`. */
async function startScript(script: string) {
  const started = lockRun('--', 'sh', '-c', script);
  await new Promise<void>((resolve) => {
    started.child.stdout?.on('data', (chunk) => {
      if (String(chunk).includes('ready')) resolve();
    });
  });
  return started;
}

const tickets = () => socket.n2.inspect('mount/db');

test('runs a command under both locks, and passes on its output and exit code', async () => {
  const script = 'echo "token $BERTH_LOCK_TOKEN"; echo err >&2; exit 7';
  const { exitCode, stdout, stderr } = await lockRun('--', 'sh', '-c', script).ended;
  expect(exitCode).toBe(7);
  expect(stdout).toMatch(/^token \d+\n$/);
  expect(stderr).toBe('err\n');
  // The next command of a script must find the locks free.
  expect(await tickets()).toEqual([]);
});

test('other hosts see the holder and its command', async () => {
  const { child, ended } = await startScript('echo ready; exec sleep 60');
  for (const facet of ['mount', 'snapshot']) {
    expect(await socket.n2.inspect(`${facet}/db`)).toMatchObject([
      {
        holder: {
          host: 'n1',
          reason: 'Maintenance',
          detail: 'sh -c echo ready; exec sleep 60',
        },
      },
    ]);
  }
  child.kill('SIGTERM');
  await ended;
});

test('options after -- belong to the command', async () => {
  const { exitCode, stdout } = await lockRun('--', 'echo', '--json', '-h', '--').ended;
  expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: '--json -h --\n' });
});

test.each(['SIGTERM', 'SIGINT'] as const)(
  'passes %s on to the command, and its exit code back',
  async (name) => {
    const { child, ended } = await startScript('echo ready; exec sleep 60');
    child.kill(name);
    expect((await ended).exitCode).toBe(128 + constants.signals[name]);
    expect(await tickets()).toEqual([]);
  },
);

test('a command may handle the signal and choose its exit code', async () => {
  const script = 'trap "echo cleaned; exit 3" TERM; echo ready; while :; do sleep 0.05; done';
  const { child, ended } = await startScript(script);
  child.kill('SIGTERM');
  expect(await ended).toMatchObject({ exitCode: 3, stdout: 'ready\ncleaned\n' });
});

test('prints whom it waits for', async () => {
  const lock = await socket.n2.lock([{ name: 'snapshot/db', mode: 'exclusive' }], {
    reason: 'Snapshot',
  });
  const { child, ended } = lockRun('--', 'echo', 'ran');
  const said = Promise.withResolvers<string>();
  child.stderr?.once('data', (chunk) => said.resolve(String(chunk)));
  expect(await said.promise).toMatch(/^waiting for host n2 \(Snapshot\) since .*, token \d+\n$/);
  await lock.unlock();
  expect(await ended).toMatchObject({ exitCode: 0, stdout: 'ran\n' });
});

test('ends the command when the lock is lost', async () => {
  const { ended } = await startScript(
    'trap "echo told; exit 0" TERM; echo ready; while :; do sleep 0.05; done',
  );
  const [ticket] = await tickets();
  if (ticket) await socket.n2.breakLock(ticket);
  const { exitCode, stdout, stderr } = await ended;
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: 'ready\ntold\n' });
  expect(stderr).toMatch(/^berth: volume db is no longer held: /);
  expect(stderr).toContain('another host may get the volume');
});

test('ends the command when the daemon ends', async () => {
  const { ended } = await startScript('echo ready; exec sleep 60');
  await socket.server.close({ graceMs: 0 });
  expect(await ended).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining('the daemon is gone'),
  });
});

test('defect A12: a killed command leaves no lock', async () => {
  const { child, ended } = await startScript('echo ready; sleep 0.3');
  child.kill('SIGKILL');
  await eventually(async () => expect(await tickets()).toEqual([]));
  await ended;
});

test('bin/berth finds its program through symbolic links', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'berth-'));
  try {
    symlinkSync(program, join(dir, 'one'));
    symlinkSync('one', join(dir, 'berth'));
    expect(await start(['volume', 'ls'], join(dir, 'berth')).ended).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining('db'),
    });
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test('bin/berth without node_modules uses the Node of the machine', () => {
  const dir = mkdtempSync(join(tmpdir(), 'berth-'));
  try {
    mkdirSync(join(dir, 'bin'));
    mkdirSync(join(dir, 'cli'));
    for (const name of ['berth', 'compile-cache.mjs']) {
      copyFileSync(join(dirname(program), name), join(dir, 'bin', name));
    }
    writeFileSync(join(dir, 'cli', 'berth.ts'), 'process.stdout.write(process.argv[2] as string)');
    const withNode = (PATH: string) =>
      ({ env: { PATH }, encoding: 'utf8', stdio: 'pipe' }) as const;
    const path = `${dirname(process.execPath)}:/usr/bin:/bin`;
    expect(execFileSync(join(dir, 'bin', 'berth'), ['ls'], withNode(path))).toBe('ls');
    writeFileSync(join(dir, 'node'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
    expect(() =>
      execFileSync(join(dir, 'bin', 'berth'), ['ls'], withNode(`${dir}:${path}`)),
    ).toThrow('berth needs Node 24 or newer');
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test('a reader that closes the pipe early is no failure', async () => {
  const { signal } = new AbortController();
  for (let index = 0; index < 2_000; index++) {
    await socket.volumes.create({ name: `v${index}`, options: {} }, { signal });
  }
  const { ended } = start(['-c', `set -e; ${program} volume ls | head -n 1`], 'sh');
  expect(await ended).toMatchObject({ exitCode: 0, stderr: '' });
});
