// What a Mount costs: the calls to the store and to the disk, counted, because each delays a
// container's start. A memory store that counts; the mount table is a real file that counts.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { UseMount } from '../../../../../lib/lock/use/use.ts';
import { recordDeletion, recordWrite } from '../../../../../lib/volumes/records/catalog.ts';
import { eventually } from '../../../../support/eventually.ts';
import type { HostVolumes } from '../../../../support/host-volumes.ts';
import { hostVolumes } from '../../../../support/host-volumes.ts';
import { storedMounts } from '../../../../support/stored-mounts.ts';

const context = { signal: new AbortController().signal };

let host: HostVolumes;
let store: HostVolumes['store'];
let catalog: HostVolumes['catalog'];
let volumes: HostVolumes['volumes'];

beforeEach(async () => {
  host = await hostVolumes();
  ({ store, catalog, volumes } = host);
  await volumes.create({ name: 'db', options: {} }, context);
  store.takeCalls();
});

afterEach(async () => {
  host.file.release(); // A failed test must not hang.
  await host[Symbol.asyncDispose]();
});

test('a first Mount calls the store once, and its Unmount once', async () => {
  await volumes.mount('db', 'id', context);
  expect(store.takeCalls()).toEqual(['enqueue']);
  await volumes.unmount('db', 'id', context);
  expect(store.takeCalls()).toEqual(['remove']);
});

test('that one call of an Unmount also writes when the volume was used last', async () => {
  expect(volumes.get('db')?.lastUse).toMatchObject({ is: 'never' });
  await volumes.mount('db', 'id', context);
  await volumes.mount('db', 'other', context);
  expect(volumes.get('db')?.lastUse).toEqual({ is: 'now' });
  host.clock.advance(60_000);
  await volumes.unmount('db', 'other', context);
  store.takeCalls();
  await volumes.unmount('db', 'id', context);
  expect(store.takeCalls()).toEqual(['remove']);
  const at = host.clock.date().toISOString();
  await eventually(() => expect(volumes.get('db')?.lastUse).toEqual({ is: 'ended', at }));
  await volumes.remove('db', context);
  expect(await store.records('uses/')).toEqual([]);
});

test('a Create calls the store twice, for the locks with the record and to commit; a Remove also asks whether it still has them', async () => {
  await volumes.create({ name: 'other', options: {} }, context);
  expect(store.takeCalls()).toEqual(['enqueue', 'commit']);
  await volumes.remove('other', context);
  expect(store.takeCalls()).toEqual(['enqueue', 'stands', 'commit']);
});

test('a Create whose answer was lost asks for its locks once more', async () => {
  store.fail('enqueue', 'lost reply');
  await volumes.create({ name: 'other', options: {} }, context);
  expect(store.takeCalls()).toEqual(['enqueue', 'enqueue', 'commit']);
  expect(await catalog.read('other')).toMatchObject({ record: { name: 'other' } });
});

test('a Mount whose answer was lost calls the store once more', async () => {
  store.fail('enqueue', 'lost reply');
  await volumes.mount('db', 'id', context);
  expect(store.takeCalls()).toEqual(['enqueue', 'enqueue']);
});

test('a Mount is refused when the volume was removed before the grant', async () => {
  const entry = await catalog.read('db');
  const writes = recordDeletion('db', entry?.revision ?? 0);
  // Without the mirror, which gets the event only after the Mount has begun.
  const committing = store.commit({ guards: [], writes, release: [] });
  const mounting = volumes.mount('db', 'id', context);
  await expect(mounting).rejects.toThrow('no such volume: db');
  await committing;
  expect(store.takeCalls()).toContain('enqueue');
  expect(await store.tickets('mount/db')).toEqual([]);
});

test('a Mount is refused when the volume has got other rules before the grant', async () => {
  const entry = await catalog.read('db');
  if (!entry) throw new Error('there is no volume');
  const other = recordWrite({ ...entry.record, access: 'shared', token: 99 }, entry.revision);
  const committing = store.commit({ guards: [], writes: [other], release: [] });
  await expect(volumes.mount('db', 'id', context)).rejects.toThrow(
    'volume db was changed while this Mount waited; try again',
  );
  await committing;
  expect(await store.tickets('mount/db')).toEqual([]);
});

test('a Mount looks at the pool once, and again after it has waited for the lock', async () => {
  const { looks, locks } = host;
  looks.count = 0;
  await volumes.mount('db', 'id', context);
  expect(looks.count).toBe(1);
  await volumes.unmount('db', 'id', context);

  const options = { reason: 'Test', ...context };
  const mounting = await locks.executeWithUseLock(UseMount('db', 'remove'), options, async () => {
    const waiting = volumes.mount('db', 'id', context);
    await eventually(() => expect(looks.count).toBe(2));
    host.clock.advance(600);
    return { waiting };
  });
  await mounting.waiting;
  expect(looks.count).toBe(3);
});

test('sixteen Mounts that come together share two looks at the pool', async () => {
  const names = Array.from({ length: 16 }, (_, index) => `v${index}`);
  for (const name of names) await volumes.create({ name, options: {} }, context);
  host.looks.count = 0;
  await Promise.all(names.map((name) => volumes.mount(name, 'id', context)));
  expect(host.looks.count).toBe(2);
});

test('a Mount waits for one sync of the disk, and so do a second user, its end and the Unmount', async () => {
  const { calls } = host.file;
  const steps = [
    () => volumes.mount('db', 'id', context),
    () => volumes.mount('db', 'other', context),
    () => volumes.unmount('db', 'other', context),
    () => volumes.unmount('db', 'id', context),
  ];
  for (const step of steps) {
    const before = calls.sync;
    await step();
    expect(calls.sync).toBe(before + 1);
  }
  expect(calls.replace).toBe(1); // At the start.
});

test('sixteen Mounts that come together share at most two syncs, and so do their Unmounts', async () => {
  const names = Array.from({ length: 16 }, (_, index) => `v${index}`);
  for (const name of names) await volumes.create({ name, options: {} }, context);
  const { file, path } = host;
  const stored = async () => storedMounts(await readFile(join(path, 'mounts.json'), 'utf8'));
  file.holdSync();
  const mounting = names.map((name) => volumes.mount(name, 'id', context));
  await eventually(async () => {
    expect((await stored()).filter(({ mountIds }) => 'id' in mountIds)).toHaveLength(16);
  });
  file.release();
  await Promise.all(mounting);
  expect(file.calls.sync).toBeLessThanOrEqual(2);
  file.holdSync();
  const unmounting = names.map((name) => volumes.unmount(name, 'id', context));
  await eventually(async () => expect(await stored()).toEqual([]));
  file.release();
  await Promise.all(unmounting);
  expect(file.calls.sync).toBeLessThanOrEqual(4);
});
