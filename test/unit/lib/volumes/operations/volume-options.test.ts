// The options of new volumes and copies, with the real drivers' rules; nothing is stored.
import { expect, test } from '@jest/globals';
import { imageDriver } from '../../../../../lib/volumes/drivers/image/driver.ts';
import { ExistsError, InvalidRequestError } from '../../../../../lib/volumes/errors.ts';
import { newCopy, newVolume } from '../../../../../lib/volumes/operations/volume-options.ts';
import type { VolumeRecord } from '../../../../../lib/volumes/volume.ts';

const image = imageDriver({ volumeDir: '/nowhere' });

const record = (options: Readonly<Record<string, string>>): VolumeRecord => ({
  ...{ version: 1, name: 'db', driver: 'image', options, access: 'host', failover: 'auto' },
  ...{ onLost: 'pause', createdAt: '', createdBy: 'n1', snapshots: [], token: 1 },
});

const size = String(2 ** 26);
const source = record({ size, fs: 'ext4', uid: '999', mode: '0700', 'mount-options': 'suid,dev' });
const copyWith = (given: Readonly<Record<string, string>>, from = source) =>
  newCopy('copy', { from: 'db', ...given }, { volume: 'db' }, from, image);

test('a copy has the size and the mount options of its source, and no owner of its own', () => {
  expect(copyWith({}).options).toEqual({ size, fs: 'ext4', 'mount-options': 'suid,dev' });
});

test('a copy has the owner and the mount options that it is given', () => {
  const given = { gid: '7', mode: '750', 'mount-options': 'noatime' };
  expect(copyWith(given).options).toEqual({
    ...{ size, fs: 'ext4', gid: '7', mode: '0750', 'mount-options': 'nosuid,nodev,noatime' },
  });
});

test('a copy of a volume without mount options has none unless they are given', () => {
  const old = record({ size, fs: 'ext4' });
  expect(copyWith({ uid: '7' }, old).options).toEqual({ size, fs: 'ext4', uid: '7' });
});

test.each([
  [{ size: '1G' }, /option size can't be given together with from/],
  [{ fs: 'xfs' }, /option fs can't/],
  [{ adopt: 'yes' }, /option adopt can't/],
  [{ uid: 'root' }, /uid="root"/],
])('a copy with %j is refused', (given: Record<string, string>, message) => {
  expect(() => copyWith(given)).toThrow(InvalidRequestError);
  expect(() => copyWith(given)).toThrow(message);
});

test('a repeated request may spell the same options in another way', () => {
  const again = newVolume('db', { size: '64M', uid: '0999', mode: '700' }, image);
  again.checkSame(source);
  const other = newVolume('db', { uid: '998' }, image);
  expect(() => other.checkSame(source)).toThrow(ExistsError);
  expect(() => other.checkSame(source)).toThrow(/uid=999, not uid=998/);
  const copy = copyWith({ mode: '700' });
  copy.checkSame({ ...record({ mode: '0700' }), from: 'db' });
  expect(() => copy.checkSame({ ...record({}), from: 'db' })).toThrow(/mode=\(none\)/);
});

test.each(['uid', 'gid', 'mode'])('%s is refused for storage that is adopted', (option) => {
  const adopting = () => newVolume('db', { adopt: 'yes', [option]: '700' }, image);
  expect(adopting).toThrow(InvalidRequestError);
  expect(adopting).toThrow(new RegExp(`option ${option} can't be given together with adopt`));
});
