// Which mounts of the kernel are those of volumes, and which of them have no row. This machine's own
// mounts; nothing is mounted.
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { foundMounts, volumeMounts } from '../../../../../lib/volumes/mounts/found-mount.ts';

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp('/tmp/berth-test-');
});

afterEach(() => rm(directory, { recursive: true }));

const names = async (mountDir: string) =>
  (await volumeMounts(mountDir)).map(({ volume }) => volume).sort();

test('mounts are found below a mount directory, and below a symbolic link to it', async () => {
  const link = join(directory, 'link');
  await symlink('/dev', link);
  expect(await names('/dev')).toContain('pts');
  expect(await names(link)).toEqual(await names('/dev'));
  expect(await names(directory)).toEqual([]);
});

test('a mount with a row is not found, and neither is a volume in doubt that has one', async () => {
  const known = new Set(['pts', 'b']);
  const table = { get: (volume: string) => known.has(volume) || undefined, doubtful: ['a', 'b'] };
  const found = await foundMounts('/dev', table);
  const volumes = found.map(({ volume }) => volume);
  expect(volumes).not.toContain('pts');
  expect(volumes).not.toContain('b');
  expect(found).toContainEqual({ volume: 'a', mountpoint: '/dev/a', isMounted: false });
});
