// How often a Create and a Remove go to the storage worker, and that they touch no pool without the cluster's mark.
// A memory store, and a real directory.

import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { HostVolumes } from '../../../../support/host-volumes.ts';
import { hostVolumes } from '../../../../support/host-volumes.ts';

const context = { signal: new AbortController().signal };
const refusal = /the pool of driver directory at .* has no mark of this cluster/;

let host: HostVolumes;
let base: string;
let mark: string;

beforeEach(async () => {
  host = await hostVolumes();
  base = join(host.path, 'directory');
  mark = join(base, '.berth-pool');
  await host.volumes.create({ name: 'first', options: {} }, context);
});

afterEach(async () => {
  await host[Symbol.asyncDispose]();
});

test('a Create and a Remove in a pool that is known to have its mark need no look of their own at it', async () => {
  host.looks.count = 0;
  await host.volumes.create({ name: 'db', options: {} }, context);
  await host.volumes.remove('db', context);
  expect(host.looks.count).toBe(0);
});

test.each([
  ['no mark', undefined],
  ["another cluster's mark", 'another'],
])('a Create and a Remove change nothing in a pool with %s', async (_, text) => {
  const cluster = await readFile(mark, 'utf8');
  await rm(mark);
  if (text !== undefined) await writeFile(mark, text);
  const before = await readdir(base);
  const creating = host.volumes.create({ name: 'db', options: {} }, context);
  await expect(creating).rejects.toThrow(text === undefined ? refusal : /another cluster/);
  const removing = host.volumes.remove('first', context);
  await expect(removing).rejects.toThrow(text === undefined ? refusal : /another cluster/);
  expect(await readdir(base)).toEqual(before);
  expect(host.catalog.get('first')).toBeDefined();
  await writeFile(mark, cluster);
  await host.volumes.create({ name: 'db', options: {} }, context);
  await host.volumes.remove('first', context);
  expect((await readdir(base)).sort()).toEqual(['.berth-pool', 'db']);
});
