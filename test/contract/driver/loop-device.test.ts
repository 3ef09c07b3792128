// Which loop devices may write to a file: asked of the kernel itself, and, where that can't be done, of losetup.
import { link, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { writableLoopDevices } from '../../../lib/volumes/drivers/image/loop-device.ts';
import { hideMountCalls } from '../../support/no-mount-calls.ts';
import { runOk } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';

const source = join(import.meta.dirname, '../../../lib/volumes/drivers/image/loop-device.ts');

/** Asks in a process of its own, for which koffi has no library. */
async function askedOfLosetup(image: string): Promise<string[]> {
  const script = `
    const { writableLoopDevices } = await import('${source}');
    process.stdout.write(JSON.stringify(await writableLoopDevices('${image}')));`;
  const node = `"${process.execPath}" --input-type=module --eval "$SCRIPT"`;
  const answer = await runOk('unshare', ['--mount', 'sh', '-c', `${hideMountCalls}\n${node}`], {
    env: { ...process.env, SCRIPT: script },
  });
  return JSON.parse(answer);
}

describeWith(['root', 'loop'], 'loop devices of an image', () => {
  test('are those that may write, under whatever name the file was attached', async () => {
    await using stack = new AsyncDisposableStack();
    const { path } = stack.use(await makeTemporaryDirectory());
    const [image, staged, other] = ['volume.img', 'staged.img', 'other.img'].map((name) =>
      join(path, name),
    ) as [string, string, string];
    for (const file of [image, other]) await writeFile(file, Buffer.alloc(1_048_576));
    await link(image, staged);
    const attach = async (file: string, ...flags: string[]) => {
      const device = (await runOk('losetup', ['--find', '--show', ...flags, file])).trim();
      stack.defer(async () => {
        await runOk('losetup', ['--detach', device]);
      });
      return device;
    };
    expect(await writableLoopDevices(image)).toEqual([]);
    const devices = [await attach(image), await attach(staged)];
    await attach(image, '--read-only');
    await attach(other);
    expect((await writableLoopDevices(image)).sort()).toEqual(devices.sort());
    expect((await askedOfLosetup(image)).sort()).toEqual(devices.sort());
    expect(await writableLoopDevices(join(path, 'missing.img'))).toEqual([]);
  });
});
