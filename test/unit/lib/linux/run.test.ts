import { describe, expect, test } from '@jest/globals';
import { ProgramError, run } from '../../../../lib/linux/run.ts';

describe('running a program', () => {
  test('gives back what it printed, and passes arguments untouched', async () => {
    await expect(run('printf', ['%s|', '$HOME', '; ls', 'a b'])).resolves.toEqual({
      stdout: '$HOME|; ls|a b|',
      stderr: '',
    });
  });

  test('a failure names the program and says in one line what it complained of', async () => {
    const failure = run('sh', ['-c', 'echo first >&2; echo second >&2; exit 3']);
    await expect(failure).rejects.toThrow(ProgramError);
    await expect(failure).rejects.toMatchObject({
      message: 'sh failed: first second',
      program: 'sh',
      exitCode: 3,
      output: { stdout: '', stderr: 'first\nsecond\n' },
    });
  });

  test('complains in English, wherever the daemon was started', async () => {
    await expect(run('ls', ['/no/such'])).rejects.toThrow('No such file or directory');
  });

  test('a program that is not there is named with nothing to install it from', async () => {
    await expect(run('no-such-program', [])).rejects.toThrow(
      'the program no-such-program is not installed',
    );
  });

  test('one that takes too long is killed', async () => {
    await expect(run('sleep', ['60'], { timeoutMs: 50 })).rejects.toThrow(
      'sleep did not finish within 0.05 s',
    );
  });

  test('an abort kills it, and rejects with the reason when it has ended', async () => {
    const controller = new AbortController();
    const running = run('sleep', ['61.25'], { signal: controller.signal, dieWithParent: true });
    setTimeout(() => controller.abort(new Error('gave up')), 50);
    await expect(running).rejects.toThrow('gave up');
    const { stdout } = await run('ps', ['-eo', 'args']);
    expect(stdout).not.toContain('sleep 61.25');
  });

  test('nothing is started when the signal was aborted before', async () => {
    const signal = AbortSignal.abort(new Error('gave up'));
    await expect(run('no-such-program', [], { signal })).rejects.toThrow('gave up');
  });
});
