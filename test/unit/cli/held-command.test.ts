// How `lock run` finds the program of its command.
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { startCommand } from '../../../cli/held-command.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';

test('a command is found behind a directory of PATH that can not be read', async () => {
  await using directory = await makeTemporaryDirectory();
  // A link to itself: unlike a directory without rights, it is refused to root, too.
  const loop = join(directory.path, 'loop');
  await symlink(loop, loop);
  const env = { PATH: `${loop}:${process.env.PATH}` };
  const { ended } = await startCommand(['true'], { env, onLeft: () => {} });
  expect(await ended).toEqual({ exitCode: 0 });
});
