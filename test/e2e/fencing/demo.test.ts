// `npm run demo -- --fast` from start to end: real engines, etcd and containers, in real time.

import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { runProcess, startProcess, waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';

const demo = [join(import.meta.dirname, '../../../demo/main.ts'), '--fast'];

describeWith(['docker', 'etcd'], 'npm run demo', () => {
  test('the demo prints every step to its end and shows that no line was lost or written twice', async () => {
    const { code, stdout, stderr } = await runProcess('node', demo);
    expect(stderr).toBe('');
    expect(stdout).toContain('n1# docker run');
    expect(stdout).toMatch(/volume db is in use: mounted on host n2/);
    expect(stdout).toContain('the two hosts never wrote at the same time');
    expect(code).toBe(0);
  });

  test('Ctrl-C ends the demo, which leaves no process or file behind', async () => {
    await using directory = await makeTemporaryDirectory();
    await using running = startProcess('node', demo, { env: { TMPDIR: directory.path } });
    await waitFor(() => running.output().includes('n1: running'), 60_000, 'the container on n1');
    expect(await startedIn(directory.path)).not.toEqual([]);
    running.kill('SIGINT');
    expect((await running.finished).code).toBe(130);
    expect(running.output()).toContain('Stopped.');
    expect(await startedIn(directory.path)).toEqual([]);
    expect(await readdir(directory.path)).toEqual([]);
  });
});

/** Returns the command lines of all processes that have this TMPDIR. */
async function startedIn(path: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of await readdir('/proc')) {
    // Empty if the entry is no process, or the process has ended.
    const read = (name: string) => readFile(`/proc/${pid}/${name}`, 'utf8').catch(() => '');
    if ((await read('environ')).split('\0').includes(`TMPDIR=${path}`)) {
      found.push((await read('cmdline')).replaceAll('\0', ' '));
    }
  }
  return found;
}
