// Running real programs: output, errors, time limits and aborts. Real time, below a second.

import { describe, expect, test } from '@jest/globals';
import { ProgramError, run } from '../../../../lib/linux/run.ts';

describe('running a program', () => {
  test('returns its output and passes arguments unchanged', async () => {
    await expect(run('printf', ['%s|', '$HOME', '; ls', 'a b'])).resolves.toEqual({
      stdout: '$HOME|; ls|a b|',
      stderr: '',
    });
  });

  test('a failure names the program and gives its error output in one line', async () => {
    const failure = run('sh', ['-c', 'echo first >&2; echo second >&2; exit 3']);
    await expect(failure).rejects.toThrow(ProgramError);
    await expect(failure).rejects.toMatchObject({
      message: 'sh failed: first second',
      program: 'sh',
      exitCode: 3,
      output: { stdout: '', stderr: 'first\nsecond\n' },
    });
  });

  test("runs the program with English messages, whatever the daemon's locale", async () => {
    await expect(run('ls', ['/no/such'])).rejects.toThrow('No such file or directory');
  });

  test('reports a missing program; an unknown one without a package to install', async () => {
    await expect(run('no-such-program', [])).rejects.toThrow(
      'the program no-such-program is not installed',
    );
  });

  test('kills a program that exceeds its time limit', async () => {
    await expect(run('sleep', ['60'], { timeoutMs: 50 })).rejects.toThrow(
      'sleep did not finish within 0.05 s',
    );
  });

  test('an abort kills the program and rejects with its reason after the end', async () => {
    const controller = new AbortController();
    const running = run('sleep', ['61.25'], { signal: controller.signal, dieWithParent: true });
    setTimeout(() => controller.abort(new Error('gave up')), 50);
    await expect(running).rejects.toThrow('gave up');
    const { stdout } = await run('ps', ['-eo', 'args']);
    expect(stdout).not.toContain('sleep 61.25');
  });

  test('starts nothing if the signal has already aborted', async () => {
    const signal = AbortSignal.abort(new Error('gave up'));
    await expect(run('no-such-program', [], { signal })).rejects.toThrow('gave up');
  });
});
