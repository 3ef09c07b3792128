// Real mounts, in a mount namespace of their own: by the system calls, and by programs where the
// library that calls them can't be loaded.
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { run } from '../../../../lib/linux/run.ts';
import { hideMountCalls } from '../../../support/no-mount-calls.ts';
import { describeWith } from '../../../support/requirements.ts';
import { makeTemporaryDirectory } from '../../../support/temporary-directory.ts';

/** Words that are added leave those that are there. */
const words = ['noatime', 'nodev', 'nosuid', 'rw'];

describeWith(['root'], 'mounting', () => {
  test('by system calls, without a program', async () => {
    expect(await seen('')).toEqual({
      ...{ programs: 0, content: 'content', words, left: 1, afterLazy: 0 },
      busy: {
        isBusy: true,
        message: expect.stringMatching(/^the unmount of .*\/at failed: .*busy/),
      },
      missing: {
        isBusy: false,
        message: expect.stringMatching(/^the bind mount of .*\/nothing at .*\/at failed: no such/),
      },
      unmounted: { isBusy: false, message: expect.stringMatching(/failed: invalid argument/) },
    });
  });

  test('by programs, where the system calls can not be made', async () => {
    expect(await seen(hideMountCalls)).toMatchObject({
      ...{ programs: 5, content: 'content', words, left: 1, afterLazy: 0 },
      busy: { isBusy: true, message: expect.stringMatching(/^umount failed: .*busy/) },
      missing: { isBusy: false, message: expect.stringMatching(/^mount failed: .*does not exist/) },
      unmounted: { isBusy: false, message: expect.stringMatching(/not mounted/) },
    });
  });
});

async function seen(preparation: string): Promise<unknown> {
  await using directory = await makeTemporaryDirectory();
  const script = join(import.meta.dirname, 'mounting-script.ts');
  const command = `${preparation}\nexec "${process.execPath}" "${script}" "${directory.path}"`;
  const { stdout } = await run('unshare', ['--mount', 'sh', '-ec', command]);
  return JSON.parse(stdout);
}
