// The stages of the holders of one volume's lock, one after another, in a directory of a real file system.
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { never } from '../../../../../../lib/running/never.ts';
import {
  enterStage,
  fromStage,
  onStage,
  ownerTag,
  ownerTagIn,
} from '../../../../../../lib/volumes/drivers/image/stage.ts';
import { makeTemporaryDirectory } from '../../../../../support/temporary-directory.ts';

let directory: Awaited<ReturnType<typeof makeTemporaryDirectory>>;
let home: string;

beforeEach(async () => {
  directory = await makeTemporaryDirectory();
  home = join(directory.path, 'volume');
  await mkdir(home);
  await writeFile(join(home, 'volume.img'), '');
});

afterEach(async () => {
  await directory[Symbol.asyncDispose]();
});

const holder = (token: number, isHeld = true) => ({
  signal: never,
  lock: {
    token,
    confirm: async () => {
      if (!isHeld) throw new Error('the lock is lost');
    },
  },
});

const stages = async () =>
  (await readdir(home)).filter((name) => name.startsWith('.stage-')).sort();

test('a later holder removes the stage of an earlier one', async () => {
  await enterStage(home, holder(1));
  await enterStage(home, holder(2));
  expect(await stages()).toEqual(['.stage-2']);
});

test('an earlier holder that goes on removes no stage of a later one, and fails', async () => {
  await enterStage(home, holder(2));
  await expect(enterStage(home, holder(1, false))).rejects.toThrow('the lock is lost');
  expect(await stages()).toEqual(['.stage-2']);
});

test('a holder whose token is smaller, in another past of the store, still gets its stage', async () => {
  await enterStage(home, holder(9));
  await enterStage(home, holder(1));
  expect(await stages()).toEqual(['.stage-1']);
});

test('a stage tells whose it is, also in the path that the kernel keeps of a file of a stage that is gone', async () => {
  const stage = await enterStage(home, holder(2), 'machine.n1');
  expect(await stages()).toEqual([`.stage-2.${ownerTag('machine.n1')}`]);
  expect(ownerTag('machine.n1')).not.toBe(ownerTag('machine.n2'));
  for (const file of ['volume.img', 'volume.img (deleted)', '.nfs0000000000000001']) {
    expect(ownerTagIn(join(stage, file))).toBe(ownerTag('machine.n1'));
  }
  for (const file of ['volume.img', '.stage-2/volume.img', `${stage}/other/volume.img`]) {
    expect(ownerTagIn(join(home, file))).toBeUndefined();
  }
});

test('the token of a stage that tells whose it is counts as that of any other', async () => {
  await enterStage(home, holder(9), 'machine.n1');
  await expect(enterStage(home, holder(8, false), 'machine.n2')).rejects.toThrow(
    'the lock is lost',
  );
  await expect(enterStage(home, holder(8, false))).rejects.toThrow('the lock is lost');
  // Without a question to the store.
  await enterStage(home, holder(10, false), 'machine.n2');
  expect(await stages()).toEqual([`.stage-10.${ownerTag('machine.n2')}`]);
  await enterStage(home, holder(11, false));
  expect(await stages()).toEqual(['.stage-11']);
});

test('a step that takes a name from a stage that a later holder has removed changes nothing', async () => {
  const late = onStage(home, holder(1), async (stage) => {
    await writeFile(join(stage, 'volume.img'), 'late');
    await enterStage(home, holder(2));
    await fromStage(stage, async () => readdir(stage));
  });
  await expect(late).rejects.toThrow('another host has got the volume while this one stood still');
  expect(await stages()).toEqual(['.stage-2']);
});
