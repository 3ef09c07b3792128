// The commands under "Start" in README.md, run as they stand there: a real engine, daemon and berth
// command.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { repository, startBerth } from '../../support/berth.ts';
import { startHost } from '../../support/host.ts';
import { describeWith } from '../../support/requirements.ts';
import { dockerTools } from '../../support/tools.ts';

describeWith(['docker'], 'the README', () => {
  test('each command under "Start" succeeds, and the copy has the content of the snapshot', async () => {
    await using host = await startHost({ docker: '26.1' });
    await using _berth = await startBerth(host);
    const { code, stdout, stderr } = await host.exec('sh', ['-e', '-c', await commands()], {
      cwd: repository,
      env: { PATH: dockerTools('26.1').searchPath, DOCKER_HOST: `unix://${host.dockerSocket}` },
    });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.split('\n')).toContain('hello');
    expect(await host.dockerOk('volume', 'ls', '-q')).toBe('');
  });
});

/** Returns the second block of commands, which the README has run in another terminal. */
async function commands(): Promise<string> {
  const text = await readFile(join(repository, 'README.md'), 'utf8');
  return text.split('```sh\n')[2]?.split('```')[0] ?? '';
}
