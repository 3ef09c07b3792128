// Removed volumes in the trash: records in a memory store that counts and fails, storage of the directory
// driver in a temporary directory, a clock that the test moves.

import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { trashIdOf } from '../../../../../lib/volumes/records/removed-volumes.ts';
import type { HostVolumes } from '../../../../support/host-volumes.ts';
import { hostVolumes } from '../../../../support/host-volumes.ts';

const context = { signal: new AbortController().signal };
const dayMs = 86_400_000;

let host: HostVolumes;
let volumes: HostVolumes['volumes'];
let trash: HostVolumes['trash'];

beforeEach(async () => {
  host = await hostVolumes({ trashMs: 7 * dayMs });
  ({ volumes, trash } = host);
});
afterEach(async () => {
  await host[Symbol.asyncDispose]();
});

const base = () => join(host.path, 'directory');
const stateOf = (name: string) => join(base(), name, 'data/state');

async function made(name: string, state = `of ${name}`): Promise<void> {
  await volumes.create({ name, options: {} }, context);
  await writeFile(stateOf(name), state);
  host.clock.advance(1_000);
}

async function removed(name: string, state?: string): Promise<string> {
  await made(name, state);
  await volumes.remove(name, context);
  return trash.list().findLast(({ volume }) => volume === name)?.id ?? '';
}

test('a removed volume is kept with its snapshots until the term ends, and comes back with them', async () => {
  await made('db');
  await volumes.snapshot({ volume: 'db', snapshot: 'monday' }, context);
  host.store.takeCalls();
  await volumes.remove('db', context);
  expect(host.store.takeCalls()).toEqual(['enqueue', 'stands', 'commit']);
  expect(volumes.get('db')).toBeUndefined();
  expect(trash.list()).toMatchObject([{ volume: 'db', driver: 'directory', removedBy: 'n1' }]);
  const [kept] = trash.list();
  expect(Date.parse(kept?.keptUntil ?? '') - Date.parse(kept?.removedAt ?? '')).toBe(7 * dayMs);
  expect(host.events.since(0).map(({ kind, message }) => [kind, message])).toContainEqual([
    'trashed',
    `volume db was moved to the trash until ${kept?.keptUntil}; to undo that: berth volume restore db@${kept?.id}`,
  ]);

  await trash.restore({ volume: 'db' }, context);
  expect(trash.list()).toEqual([]);
  expect(volumes.get('db')?.record).toMatchObject({ name: 'db', snapshots: [{ name: 'monday' }] });
  await writeFile(stateOf('db'), 'later');
  await volumes.restoreSnapshot({ volume: 'db', snapshot: 'monday' }, context);
  expect(await readFile(stateOf('db'), 'utf8')).toBe('of db');
});

test('a name can be used again, and the older ones come back under other names, by ID or time', async () => {
  const first = await removed('db', 'first');
  const second = await removed('db', 'second');
  await made('db', 'third');
  await expect(trash.restore({ volume: 'db' }, context)).rejects.toThrow(
    `there is a volume db; restore the removed one under another name: berth volume restore db@${second} --as NAME`,
  );
  const at = trash.list().find(({ id }) => id === first)?.removedAt ?? '';
  await trash.restore({ volume: 'db', which: at.replace(/\.\d+/, ''), as: 'one' }, context);
  expect(await readFile(stateOf('one'), 'utf8')).toBe('first');
  await trash.restore({ volume: 'db', which: second, as: 'two' }, context);
  expect(await readFile(stateOf('two'), 'utf8')).toBe('second');
  expect(await readFile(stateOf('db'), 'utf8')).toBe('third');
  await volumes.remove('one', context);
  await expect(trash.restore({ volume: 'db' }, context)).rejects.toThrow(
    'volume db is not in the trash',
  );
  await expect(trash.restore({ volume: 'one', which: 'other' }, context)).rejects.toThrow(
    /one@other is not in the trash; there are: one@[0-9a-f]{10} \(removed at 20/,
  );
  await expect(trash.restore({ volume: 'one', as: '../x' }, context)).rejects.toThrow('valid');
});

test('a volume can have a term of its own, which can be changed', async () => {
  const days = async (name: string) => {
    await volumes.remove(name, context);
    const [kept] = trash.list().filter(({ volume }) => volume === name);
    return kept && (Date.parse(kept.keptUntil) - Date.parse(kept.removedAt)) / dayMs;
  };
  const create = (name: string, keep: string) =>
    volumes.create({ name, options: { keep } }, context);
  await create('long', '720h');
  expect(volumes.get('long')?.record.options.keep).toBe('30d');
  await create('secret', '0');
  await create('again', '0');
  await create('changed', '30d');
  await volumes.set('changed', { keep: '1d' }, context);
  await volumes.set('again', { keep: 'default' }, context);
  expect(await days('long')).toBe(30);
  expect(await days('secret')).toBeUndefined();
  expect(await days('again')).toBe(7);
  expect(await days('changed')).toBe(1);
  for (const bad of ['7', '0s', '1w']) {
    await expect(create('bad', bad)).rejects.toThrow('use 1s to 366d, such as 7d or 12h');
  }
});

test('the trash empties itself at the end of the term, and not before', async () => {
  await removed('old');
  host.clock.advance(dayMs);
  await removed('young');
  host.clock.advance(6 * dayMs);
  await host.keeper.empty();
  expect(trash.list().map(({ volume }) => volume)).toEqual(['young']);
  expect(await readdir(join(base(), '.trash'))).toEqual([expect.stringMatching(/^young@/)]);
  expect(host.events.since(0)).toContainEqual(
    expect.objectContaining({
      kind: 'trash-emptied',
      volume: 'old',
      message: expect.stringMatching(/^old@.* was deleted from the trash: its term ended at 20/),
    }),
  );
});

test('for space, the first removed goes first, and nothing if all of it is not enough', async () => {
  for (const name of ['one', 'two', 'three']) await removed(name);
  const [size = 0] = await Promise.all(trash.list().map((each) => trash.bytes(each)));
  expect(size).toBeGreaterThan(0);
  await expect(host.keeper.makeRoom(host.driver, 10 * size)).resolves.toBe(false);
  expect(trash.list()).toHaveLength(3);
  await expect(host.keeper.makeRoom(host.driver, size + 1)).resolves.toBe(true);
  expect(trash.list().map(({ volume }) => volume)).toEqual(['three']);
});

test('a nearly full pool loses what was removed first, until it has room', async () => {
  for (const name of ['one', 'two', 'three']) await removed(name);
  const gib = 2 ** 30;
  const { pool } = host.driver;
  Object.assign(pool, {
    space: async () => ({
      ...{ totalBytes: 100 * gib, freeFiles: 1, sharesBlocks: false, isOnRoot: false },
      freeBytes: trash.list().length > 1 ? gib : 50 * gib,
    }),
  });
  await host.keeper.empty();
  expect(trash.list().map(({ volume }) => volume)).toEqual(['three']);
});

test('a Remove and a restore that a crash has ended before their commit are completed by a repeat', async () => {
  await made('db');
  const record = volumes.get('db')?.record;
  if (!record) throw new Error('there is no volume');
  const id = trashIdOf(record);
  await host.driver.trash?.put(record, id, context);
  await volumes.remove('db', context);
  expect(trash.list()).toMatchObject([{ volume: 'db', id }]);
  for (const as of ['db', 'other']) {
    const [entry] = trash.list();
    if (!entry) throw new Error('the trash is empty');
    await host.driver.trash?.takeOut(entry, { name: as, options: {} }, context);
    await trash.restore({ volume: 'db', as }, context);
    expect(await readFile(stateOf(as), 'utf8')).toBe('of db');
    if (as === 'db') await volumes.remove('db', context);
  }
});

test('claims that stood at the removal stand again after the restore: their hosts may still write', async () => {
  await using claimed = await hostVolumes({
    trashMs: dayMs,
    claims: [{ mark: 'abc', value: '{"owner":"n9"}' }],
  });
  await claimed.volumes.create({ name: 'db', options: {} }, context);
  await claimed.volumes.remove('db', context);
  await claimed.trash.restore({ volume: 'db', as: 'other' }, context);
  expect((await claimed.store.records('claims/')).map(({ key, value }) => [key, value])).toEqual([
    ['claims/other/abc', '{"owner":"n9"}'],
  ]);
});

test('without a term, or with a driver that has no trash, nothing is kept', async () => {
  await using none = await hostVolumes();
  await none.volumes.create({ name: 'db', options: {} }, context);
  await none.volumes.snapshot({ volume: 'db', snapshot: 'monday' }, context);
  await expect(none.volumes.remove('db', context)).rejects.toThrow('has snapshots: db@monday');
  await none.volumes.removeSnapshot({ volume: 'db', snapshot: 'monday' }, context);
  await none.volumes.remove('db', context);
  expect(none.trash.list()).toEqual([]);
  const { trash: _, ...withoutTrash } = host.driver;
  const volume = { name: 'db', options: {} };
  expect(trash.keeps(host.driver, volume)).toBe(true);
  expect(trash.keeps(withoutTrash, volume)).toBe(false);
});

test('a pool without room for one more name: deleted at once and said, but never with snapshots', async () => {
  const full = Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
  const { trash: kept } = host.driver;
  if (!kept) throw new Error('the driver has no trash');
  Object.assign(kept, { put: () => Promise.reject(full) });
  for (const name of ['db', 'web']) await made(name);
  await volumes.snapshot({ volume: 'web', snapshot: 'monday' }, context);
  await volumes.remove('db', context);
  expect(host.events.since(0).map(({ message }) => message)).toContainEqual(
    expect.stringMatching(
      /^volume db was deleted at once: the pool of driver directory has no room/,
    ),
  );
  await expect(volumes.remove('web', context)).rejects.toThrow(
    /has no room to keep volume web in the trash; nothing was changed/,
  );
  expect(volumes.list().map(({ record }) => record.name)).toEqual(['web']);
  expect(await readFile(stateOf('web'), 'utf8')).toBe('of web');
});

test('a removed volume whose storage is gone is not restored, and can be forgotten', async () => {
  const id = await removed('db');
  await expect(trash.forget({ volume: 'db', id }, context.signal)).resolves.toBe(false);
  await rm(join(base(), '.trash', `db@${id}`), { recursive: true });
  await expect(trash.restore({ volume: 'db' }, context)).rejects.toThrow(
    `the storage of db@${id} in the trash is not there`,
  );
  expect(volumes.get('db')).toBeUndefined();
  await expect(trash.forget({ volume: 'db', id }, context.signal)).resolves.toBe(true);
  expect(trash.list()).toEqual([]);
});
