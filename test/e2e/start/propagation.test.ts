// Whether mounts made by a daemon reach the mount namespace that it was started from; real
// namespaces.

import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { runOk } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';

const source = join(import.meta.dirname, '../../../lib/linux/propagation.ts');

describeWith(['root'], 'the mount namespace of a daemon', () => {
  test('mounts propagate through a mount that both namespaces share, and NoPropagationError reports a missing one', async () => {
    expect(await ask('true')).toBe('reached');
    expect(await ask('mount --make-private . && mount --make-shared .')).toBe('NoPropagationError');
  });
});

/**
 * Runs a script, then the check, in a mount namespace that shares one mount with its parent's;
 * returns the result.
 */
async function ask(script: string): Promise<string> {
  await using temporary = await makeTemporaryDirectory();
  const program = `
    import { requirePropagation } from '${source}';
    const directory = '${temporary.path}/mounts/not/there/yet';
    const say = (answer) => process.stdout.write(answer);
    await requirePropagation(directory).then(() => say('reached'), ({ name }) => say(name));`;
  const inside = `cd ${temporary.path} && ${script} && exec node --input-type=module -e "$PROGRAM"`;
  const outside = `cd ${temporary.path} && mount --bind --make-shared . . &&
    unshare -m --propagation unchanged sh -c '${inside}'; exit $?`;
  return await runOk('unshare', ['-m', '--propagation', 'private', 'sh', '-c', outside], {
    env: { PROGRAM: program },
  });
}
