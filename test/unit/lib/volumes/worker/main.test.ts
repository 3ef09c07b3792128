// A storage worker, as a process of its own, whose daemon dies while the worker starts.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { portDigest } from '../../../../../lib/volumes/worker/port-digest.ts';
import { startProcess, waitFor } from '../../../../support/processes.ts';
import { makeTemporaryDirectory } from '../../../../support/temporary-directory.ts';

const worker = join(import.meta.dirname, '../../../../../lib/volumes/worker/main.ts');

/** Plays a daemon: forks a worker whose start takes a second, says its pid, and is killed. */
const daemon = `
const { fork } = require('node:child_process');
const slow = 'data:text/javascript,await new Promise((resolve) => setTimeout(resolve, 1000))';
const [program, place, port] = process.argv.slice(1);
const options = { detached: true, execArgv: ['--import', slow], serialization: 'advanced' };
const child = fork(program, [place, port], { ...options, stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });
process.stdout.write(String(child.pid), () => setTimeout(() => process.kill(process.pid, 'SIGKILL'), 100));
`;

test('a worker ends with its daemon, also if that dies while the worker starts', async () => {
  await using directory = await makeTemporaryDirectory();
  const place = JSON.stringify({ volumeDir: directory.path, hostDir: directory.path });
  await using process = startProcess(globalThis.process.execPath, [
    ...['-e', daemon, worker, place, portDigest()],
  ]);
  await process.finished;
  const pid = Number(process.output());
  expect(pid).toBeGreaterThan(1);
  const isGone = async () => {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ') Z ');
    return / Z /.test(stat.slice(stat.lastIndexOf(')')));
  };
  try {
    await waitFor(isGone, 10_000, 'the worker to end');
  } finally {
    if (!(await isGone())) globalThis.process.kill(pid, 'SIGKILL');
  }
});
