// The reading of /etc/fstab: texts, and a real file in its place.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { mountpointsInFstab, unmountedOnFstab } from '../../../../lib/linux/fstab.ts';
import { makeTemporaryDirectory } from '../../../support/temporary-directory.ts';

const text = `# comment
UUID=1 / ext4 defaults 0 1
nas:/v\t/shared/volumes  nfs4 noauto 0 0
/dev/sdb /mnt/two\\040words xfs
/dev/sdc none swap sw 0 0

broken`;

test('only mountpoints other than the root are listed', () => {
  expect(mountpointsInFstab(text)).toEqual(['/shared/volumes', '/mnt/two words']);
});

test.each([
  ['/shared/volumes', [], '/shared/volumes'],
  ['/shared/volumes/image', [], '/shared/volumes'],
  ['/shared/volumes/image', ['/shared/volumes'], undefined],
  ['/shared/volumes-2', [], undefined],
  ['/var/lib/berth', [], undefined],
])('%s, with %j mounted, waits for %s', async (path, mounted, expected) => {
  await using directory = await makeTemporaryDirectory();
  const fstab = join(directory.path, 'fstab');
  await writeFile(fstab, text);
  expect(await unmountedOnFstab(path, new Set(mounted), fstab)).toBe(expected);
});

test('a machine without the file waits for nothing', async () => {
  expect(await unmountedOnFstab('/x', new Set(), '/nowhere/fstab')).toBeUndefined();
});
