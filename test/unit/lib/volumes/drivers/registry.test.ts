// The registry of drivers: its names, and what every driver of it brings; nothing is stored.

import { readFile } from 'node:fs/promises';
import { expect, test } from '@jest/globals';
import { driverNames, drivers } from '../../../../../lib/volumes/drivers/registry.ts';

test('the registry names its drivers as they name themselves', async () => {
  const all = await drivers({ volumeDir: '/nowhere' });
  expect([...all.keys()]).toEqual(driverNames);
  for (const [name, driver] of all) expect(driver.name).toBe(name);
});

test.each(driverNames)('driver %s has the options that every driver has', async (name) => {
  const driver = (await drivers({ volumeDir: '/nowhere' })).get(name);
  expect(Object.keys(driver?.options ?? {})).toEqual(
    expect.arrayContaining(['uid', 'gid', 'mode', 'mount-options']),
  );
});

test.each(driverNames)(
  'the container image has the packages that driver %s needs',
  async (name) => {
    const driver = (await drivers({ volumeDir: '/nowhere' })).get(name);
    const image = await readFile(new URL('../../../../../Dockerfile', import.meta.url), 'utf8');
    const installed = image.split(/\s+/);
    expect(installed).toEqual(expect.arrayContaining(Object.values(driver?.programs ?? {})));
  },
);
