// Which host has a volume's storage: pure.
import { expect, test } from '@jest/globals';
import { directoryDriver } from '../../../../lib/volumes/drivers/directory/driver.ts';
import { imageDriver } from '../../../../lib/volumes/drivers/image/driver.ts';
import { tmpfsDriver } from '../../../../lib/volumes/drivers/tmpfs/driver.ts';
import { UnavailableError } from '../../../../lib/volumes/errors.ts';
import { isStoredOn, requireStoredOn } from '../../../../lib/volumes/stored-on.ts';
import { recordSchema } from '../../../../lib/volumes/volume.ts';

const place = { volumeDir: '/nowhere' };
const all = {
  directory: directoryDriver(place),
  image: imageDriver(place),
  tmpfs: tmpfsDriver(place),
};
const recordOf = (driver: string) =>
  recordSchema.parse({
    ...{ version: 1, name: 'db', driver, options: {}, access: 'host', createdAt: '' },
    ...{ createdBy: 'n1', snapshots: [], token: 1 },
  });

test.each([
  ['directory', 'n1', true],
  ['directory', 'n2', true],
  ['image', 'n2', true],
  ['tmpfs', 'n1', true],
  ['tmpfs', 'n2', false],
] as const)('a volume of driver %s that n1 created is on %s: %s', (driver, host, isThere) => {
  expect(isStoredOn(host, recordOf(driver), all[driver])).toBe(isThere);
});

test('a volume of another driver is none of this one', () => {
  expect(isStoredOn('n1', recordOf('image'), all.tmpfs)).toBe(false);
});

test('the refusal names the host that has the volume, and what to do', () => {
  const require = () => requireStoredOn('n2', recordOf('tmpfs'), all.tmpfs);
  expect(require).toThrow(UnavailableError);
  expect(require).toThrow(/db is on host n1 only, .* driver tmpfs; use it there, or remove it/);
});
