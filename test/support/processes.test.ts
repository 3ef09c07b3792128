// Starting, ending and counting real processes; real time.

import { describe, expect, test } from '@jest/globals';
import {
  freePorts,
  openDescriptors,
  runOk,
  runProcess,
  startProcess,
  waitFor,
} from './processes.ts';

describe('processes of a test', () => {
  test('runProcess runs a command to its end and returns its output and exit code', async () => {
    const result = await runProcess('sh', ['-c', 'cat; echo warning >&2; exit 3'], { input: 'hi' });
    expect(result).toEqual({ stdout: 'hi', stderr: 'warning\n', code: 3 });
  });

  test('runOk rejects with the command line, exit code and error output of a failed command', async () => {
    await expect(runOk('sh', ['-c', 'echo broken >&2; exit 3'])).rejects.toThrow(
      'sh -c echo broken >&2; exit 3 failed with code 3: broken',
    );
  });

  test('a process ends with its block, even if it is paused', async () => {
    let pid = 0;
    {
      await using running = startProcess('sleep', ['100']);
      pid = running.pid;
      running.kill('SIGSTOP');
      expect(running.hasExited).toBe(false);
    }
    expect(() => process.kill(pid, 0)).toThrow('ESRCH');
  });

  test('a process that ignores SIGTERM is killed', async () => {
    await using running = startProcess('sh', [
      '-c',
      'trap "" TERM; echo on; while :; do sleep 1; done',
    ]);
    await waitFor(() => running.output() === 'on\n', 2_000, 'the trap');
    await running.stop(100);
    expect((await running.finished).code).toBe(128 + 9);
  });

  test('a process does not outlive a parent that was killed', async () => {
    const script = `
      import { startProcess } from '${new URL('./processes.ts', import.meta.url).pathname}';
      process.stdout.write(String(startProcess('sleep', ['100']).pid));
      await new Promise((resolve) => setTimeout(resolve, 60_000));`;
    const args = ['--input-type=module-typescript', '--eval', script];
    await using parent = startProcess(process.execPath, args);
    const pid = Number(await waitFor(() => parent.output(), 5_000, 'the child'));
    process.kill(pid, 0);
    parent.kill('SIGKILL');
    await waitFor(() => isGone(pid), 2_000, 'the end of the child');
  });

  test('waitFor stops at its time limit and names the condition', async () => {
    await expect(waitFor(() => false, 50, 'the impossible')).rejects.toThrow(
      'gave up waiting for the impossible after 250 ms',
    );
  });

  test('freePorts returns distinct ports', async () => {
    expect(new Set(await freePorts(20)).size).toBe(20);
  });

  test('openDescriptors counts the open file descriptors of a process', async () => {
    await using plain = startProcess('sleep', ['100']);
    await using holder = startProcess('sh', ['-c', 'exec 7</dev/null 8</dev/null; exec sleep 100']);
    // Both may have inherited descriptors from the process that runs the tests.
    await waitFor(
      async () => (await openDescriptors(holder.pid)) === (await openDescriptors(plain.pid)) + 2,
      2_000,
      'two more descriptors',
    );
  });
});

function isGone(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false;
  } catch {
    return true;
  }
}
