import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { runOk } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';

const source = join(import.meta.dirname, '../../../lib/linux/propagation.ts');

describeWith(['root'], 'the mount namespace of a daemon', () => {
  test('reaches the one it was started from through a mount that both share', async () => {
    expect(await ask('true')).toBe('reached');
    expect(await ask('mount --make-private . && mount --make-shared .')).toBe('NoPropagationError');
  });
});

/** What a process says that runs a script first, in a mount namespace that shares one mount with its parent's. */
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
