// A copy that fails, and one that finds storage of its name. A memory store; the storage is real, the
// freeze is played.
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import {
  ExistsError,
  InvalidRequestError,
  UnavailableError,
} from '../../../../../lib/volumes/errors.ts';
import type { HostVolumes } from '../../../../support/host-volumes.ts';
import { hostVolumes } from '../../../../support/host-volumes.ts';

const context = { signal: new AbortController().signal };
let host: HostVolumes;

beforeEach(async () => {
  host = await hostVolumes();
  await host.volumes.create({ name: 'db', options: {} }, context);
});
afterEach(() => host[Symbol.asyncDispose]());

test('a copy whose worker ends in the middle does not leave the volume frozen', async () => {
  const thawed: string[] = [];
  const broken = async () => {
    throw new UnavailableError('the worker ended');
  };
  const capabilities = { ...host.driver.capabilities, ownsFileSystem: true };
  const recover = async (mountpoint: string) => void thawed.push(mountpoint);
  Object.assign(host.driver, { capabilities, recover, snapshot: broken, clone: broken });
  const copies = [
    () => host.volumes.snapshot({ volume: 'db', snapshot: 'monday' }, context),
    () => host.volumes.copy({ volume: 'db' }, 'copy', context),
  ];
  for (const copy of copies) await expect(copy()).rejects.toThrow('the worker ended');
  expect(thawed).toEqual([]); // It is not mounted.
  const mountpoint = await host.volumes.mount('db', 'a'.repeat(64), context);
  for (const copy of copies) await expect(copy()).rejects.toThrow('the worker ended');
  expect(thawed).toEqual([mountpoint, mountpoint]);
});

test('a copy refuses storage with content that it finds, and changes nothing', async () => {
  const file = (name: string) => join(host.path, 'directory', name, 'data/file');
  await writeFile(file('db'), 'content');
  await cp(join(host.path, 'directory/db'), join(host.path, 'directory/old'), { recursive: true });
  await writeFile(file('old'), 'precious');
  const create = { name: 'old', options: { from: 'db' } };
  await expect(host.volumes.copy({ volume: 'db' }, 'old', context)).rejects.toThrow(ExistsError);
  await expect(host.volumes.create(create, context)).rejects.toThrow(ExistsError);
  expect(await readFile(file('old'), 'utf8')).toBe('precious');
});

test('a copy of a snapshot refuses what is for a volume in use, in a call and as an option', async () => {
  const monday = { volume: 'db', snapshot: 'monday' };
  await host.volumes.snapshot(monday, context);
  const asked = [{ isLive: true }, { holdLimitMs: 1_000 }, { commands: { before: 'sync' } }];
  for (const inUse of asked) {
    const refused = host.volumes.copy(monday, 'copy', { ...context, inUse });
    await expect(refused).rejects.toThrow(/db@monday is a snapshot, which nobody writes to/);
  }
  const create = { name: 'copy', options: { from: 'db@monday', live: 'yes' } };
  await expect(host.volumes.create(create, context)).rejects.toThrow(InvalidRequestError);
  await host.volumes.copy(monday, 'copy', { ...context, inUse: { isLive: false } });
});
