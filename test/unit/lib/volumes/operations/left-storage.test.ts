// What a Create or a copy may do with storage that has no record. Pure; the driver is one of the test.
import { expect, test } from '@jest/globals';
import type { VolumeDriver } from '../../../../../lib/volumes/drivers/driver.ts';
import type { StoredVolume } from '../../../../../lib/volumes/drivers/stored-volume.ts';
import {
  createUnlessLeft,
  refuseLeft,
} from '../../../../../lib/volumes/operations/left-storage.ts';
import type { NewVolume } from '../../../../../lib/volumes/operations/volume-options.ts';

const wanted: NewVolume = {
  ...{ name: 'db', driver: 'image', options: { size: '1' }, access: 'host', failover: 'auto' },
  ...{ onLost: 'pause', adopts: false, protect: false, isLive: false, checkSame: () => {} },
};
const copy: NewVolume = { ...wanted, source: { volume: 'other' } };
const left: StoredVolume = {
  ...{ name: 'db', options: { size: '1' }, content: 'some', isTorn: false, snapshots: [] },
  ...{ isFreshCopy: false, changedAt: '2026-01-02T03:04:05.000Z' },
};

test('content without a record is refused with the two ways out, by a copy as well', () => {
  expect(() => refuseLeft(wanted, left)).toThrow(/repeat the command with -o size=1 -o adopt=yes/);
  expect(() => refuseLeft(copy, left)).toThrow(
    /create the volume without from and with -o size=1 -o adopt=yes; or delete it first: berth doctor/,
  );
  expect(() => refuseLeft(copy, { ...left, snapshots: ['monday'], isFreshCopy: true })).toThrow();
});

test('an interrupted copy is replaced by a copy, and by nothing else', () => {
  const fresh = { ...left, isFreshCopy: true };
  expect(() => refuseLeft(copy, fresh)).not.toThrow();
  expect(() => refuseLeft(wanted, fresh)).toThrow(/has storage with content/);
});

test('empty storage is used', () => {
  for (const each of [wanted, copy]) {
    expect(() => refuseLeft(each, undefined)).not.toThrow();
    expect(() => refuseLeft(each, { ...left, content: 'empty' })).not.toThrow();
  }
});

test('a Create looks at storage only when its driver has found some, or has failed', async () => {
  const context = { signal: new AbortController().signal };
  let looks = 0;
  const create = (outcome: () => 'made' | 'found') => {
    const storage = { find: async () => (++looks > 0 ? left : undefined) };
    const driver = { create: async () => outcome(), storage } as unknown as VolumeDriver;
    return createUnlessLeft(driver, wanted, context);
  };
  await create(() => 'made');
  expect(looks).toBe(0);
  await expect(create(() => 'found')).rejects.toThrow(/has storage with content/);
  const failing = create(() => {
    throw new Error('the directory is not empty');
  });
  await expect(failing).rejects.toThrow(/has storage with content/);
  expect(looks).toBe(2);
});
