// The registry of drivers against the setting that names them.

import { expect, test } from '@jest/globals';
import { drivers } from '../../../../../lib/volumes/drivers/registry.ts';
import { driverNames } from '../../../../../plugin/config/settings.ts';

test('the setting `driver` allows the drivers of the registry', () => {
  expect([...driverNames].sort()).toEqual([...drivers({ volumeDir: '/nowhere' }).keys()].sort());
});
