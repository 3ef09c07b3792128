import { mkdir, open, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { copyTree } from '../lib/volumes/drivers/shared/copy.ts';
import { runOk } from '../test/support/processes.ts';
import { makeTemporaryDirectory } from '../test/support/temporary-directory.ts';
import { printFigures, quantile, timed } from './statistics.ts';

const rounds = 7;
const directories = 100;
const filesInEach = 100;
const sparseBytes = 2 ** 30;
const never = { signal: new AbortController().signal };

/** Measures a copy of a directory against `cp -a`, in rounds that alternate. */
export async function benchCopyDirectory(): Promise<number> {
  await using directory = await makeTemporaryDirectory();
  const [small, sparse] = [join(directory.path, 'small'), join(directory.path, 'sparse')];
  await Promise.all([makeSmallFiles(small), makeSparseFile(sparse)]);
  const files = await compared(small, directory.path);
  const holes = await compared(sparse, directory.path);
  return printFigures(`A copy of a directory, ${rounds} rounds, p50`, [
    { what: '10,000 files of 2 KB: cp -a', value: files.cp, unit: 'ms' },
    { what: '10,000 files of 2 KB: berth', value: files.own, unit: 'ms' },
    { what: '10,000 files of 2 KB', value: files.own / files.cp, unit: '×', limit: 2 },
    { what: 'a sparse file of 1 GB: cp -a', value: holes.cp, unit: 'ms' },
    { what: 'a sparse file of 1 GB: berth', value: holes.own, unit: 'ms' },
  ]);
}

async function compared(from: string, place: string): Promise<{ cp: number; own: number }> {
  const to = join(place, 'to');
  const works = {
    cp: () => runOk('cp', ['-a', from, to]),
    own: () => copyTree(from, to, never),
  };
  const all: Record<keyof typeof works, number[]> = { cp: [], own: [] };
  for (let round = -1; round < rounds; round += 1) {
    for (const work of ['cp', 'own'] as const) {
      const ms = await timed(works[work]);
      if (round >= 0) all[work].push(ms); // The first round warms both up.
      await rm(to, { recursive: true });
    }
  }
  return { cp: quantile(all.cp, 0.5), own: quantile(all.own, 0.5) };
}

async function makeSmallFiles(root: string): Promise<void> {
  for (let index = 0; index < directories; index += 1) {
    const path = join(root, `d${index}`);
    await mkdir(path, { recursive: true });
    const names = Array.from({ length: filesInEach }, (_, file) => join(path, `f${file}`));
    await Promise.all(names.map((name) => writeFile(name, 'x'.repeat(2_000))));
  }
}

/** Makes a file with a block of data in each tenth of it. */
async function makeSparseFile(root: string): Promise<void> {
  await mkdir(root);
  await using file = await open(join(root, 'file'), 'w');
  await file.truncate(sparseBytes);
  for (let part = 0; part < 10; part += 1) await file.write('data', (part * sparseBytes) / 10);
}
