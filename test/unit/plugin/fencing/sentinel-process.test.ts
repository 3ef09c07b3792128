// The processes of the sentinel, as the kernel shows them: real ones that listen on a socket.
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { systemClock } from '../../../../lib/running/clock.ts';
import type { ProcessLook } from '../../../../plugin/fencing/liveness.ts';
import type { SentinelProcesses } from '../../../../plugin/fencing/sentinel-process.ts';
import { sentinelProcesses } from '../../../../plugin/fencing/sentinel-process.ts';
import { eventually } from '../../../support/eventually.ts';
import type { TemporaryDirectory } from '../../../support/temporary-directory.ts';
import { makeTemporaryDirectory } from '../../../support/temporary-directory.ts';

let directory: TemporaryDirectory;
let socketPath: string;
let processes: SentinelProcesses;
let child: ChildProcess;

beforeEach(async () => {
  directory = await makeTemporaryDirectory();
  socketPath = join(directory.path, 'sentinel');
  processes = sentinelProcesses({
    socketPath,
    dockerSocket: join(directory.path, 'docker'),
    logPath: join(directory.path, 'log'),
    clock: systemClock(),
  });
});
afterEach(async () => {
  child.kill('SIGKILL');
  await directory[Symbol.asyncDispose]();
});

/** Starts a process that listens on the socket and then does this. */
async function listening(then: string): Promise<void> {
  const script = `
    require('node:net').createServer().listen(process.argv[1], () => {
      console.log();
      setTimeout(() => { ${then} }, 100);
    })`;
  child = spawn(process.execPath, ['-e', script, socketPath], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (!child.stdout) throw new Error('its output is a pipe');
  await once(child.stdout, 'data');
}

async function found(): Promise<ProcessLook> {
  const [look, ...others] = await processes.find();
  if (!look || others.length > 0) throw new Error('one process listens');
  expect(look.pid).toBe(child.pid);
  return look;
}

test('one that never answers, but works, shows it at each look', async () => {
  await listening('for (;;) {}');
  await delay(200);
  const first = await found();
  await delay(50);
  const second = await found();
  expect(second.used).not.toBe(first.used);
  expect(second.started).toBe(first.started);
});

test('one that waits for nothing shows no work, until it writes its state', async () => {
  await listening('');
  // Node still works for a moment after its start.
  await eventually(async () => {
    const first = await found();
    expect(await found()).toEqual(first);
  });
  const second = await found();
  await writeFile(`${socketPath}.state`, 'line\n');
  const third = await found();
  await writeFile(`${socketPath}.state`, 'another\n', { flag: 'a' });
  const written = [second.written, third.written, (await found()).written];
  expect(new Set(written).size).toBe(3);
});

test('one that is stopped by a signal shows that, and can be killed', async () => {
  await listening('');
  child.kill('SIGSTOP');
  await eventually(async () => expect((await found()).state).toBe('T'));
  const look = await found();
  expect(await processes.hasEnded(look, 0)).toBe(false);
  await processes.kill(look);
  expect(await processes.hasEnded(look, 0)).toBe(true);
  expect(await processes.find()).toEqual([]);
  await processes.kill(look); // It has ended: nothing happens.
});
