// The reserve of a state directory that is gone, as on a disk that has failed.
import { rm } from 'node:fs/promises';
import { expect, test } from '@jest/globals';
import { StateReserve } from '../../../../plugin/host/state-reserve.ts';
import { makeTemporaryDirectory } from '../../../support/temporary-directory.ts';

test('a file system that can not be measured stops no operation, and is a condition', async () => {
  await using directory = await makeTemporaryDirectory();
  const reserve = new StateReserve(directory.path);
  expect(await reserve.conditions()).toEqual([]);
  await rm(directory.path, { recursive: true });
  await expect(reserve.give()).resolves.toBe(false);
  await expect(reserve.keep()).resolves.toBeUndefined();
  expect(await reserve.conditions()).toEqual([
    { severity: 'error', message: expect.stringMatching(/can't be measured \(.*ENOENT/) },
  ]);
});
