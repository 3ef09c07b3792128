// The records that a daemon remembers on disk for a start without its store. A memory store that
// can be cut off, real files.

import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { StoreMirror } from '../../../../../lib/lock/engine/store-mirror.ts';
import { memoryState, memoryStore } from '../../../../../lib/lock/stores/memory/store.ts';
import type { TicketStore } from '../../../../../lib/lock/stores/ticket-store.ts';
import { systemClock } from '../../../../../lib/running/clock.ts';
import { UnavailableError } from '../../../../../lib/volumes/errors.ts';
import {
  Catalog,
  mountMarkKey,
  recordDeletion,
  recordWrite,
} from '../../../../../lib/volumes/records/catalog.ts';
import { RememberedRecords } from '../../../../../lib/volumes/records/remembered-records.ts';
import type { VolumeRecord } from '../../../../../lib/volumes/volume.ts';
import { recordSchema } from '../../../../../lib/volumes/volume.ts';
import { eventually } from '../../../../support/eventually.ts';
import { ManualClock } from '../../../../support/manual-clock.ts';

let directory: string;
let path: string;
let store: TicketStore;
let clock: ManualClock;
beforeEach(() => {
  clock = new ManualClock();
  directory = mkdtempSync(join(tmpdir(), 'berth-'));
  path = join(directory, 'records.json');
  store = memoryStore({ shared: memoryState(systemClock()) });
});
afterEach(() => rmSync(directory, { recursive: true }));

const record = (name: string): VolumeRecord =>
  recordSchema.parse({
    version: 1,
    name,
    driver: 'directory',
    access: 'host',
    options: {},
    createdAt: '2026-01-02T03:04:05.000Z',
    createdBy: 'n1',
    token: 1,
    snapshots: [],
  });

/** A line of format 2. */
const putOf = (name: string) => `${JSON.stringify({ put: record(name) })}\n`;

/** Waits until what changed has been written, however late a write begins. */
const written = (check: () => void) =>
  eventually(async () => {
    await clock.pass(1_000);
    check();
  });

/** The lines of a file; none if there is no file. */
const linesOf = (file: string) =>
  existsSync(file) ? readFileSync(file, 'utf8').trimEnd().split('\n') : [];

/** One daemon's view of the store, with its remembered records. */
async function host({ of = 'etcd /berth', isAway = false } = {}) {
  const remembered = await RememberedRecords.open({ path, store: of, clock });
  const away: TicketStore = { ...store, watch: () => ({ [Symbol.dispose]: () => undefined }) };
  const mirror = new StoreMirror(isAway ? away : store);
  const catalog = new Catalog(mirror, store, remembered.volumes);
  let lists = 0;
  remembered.follow(
    new Proxy(mirror, {
      get: (target, name) => {
        if (name === 'records') lists += 1;
        const value = Reflect.get(target, name, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    }),
  );
  if (!isAway) await mirror.firstReset;
  return {
    catalog,
    mirror,
    lists: () => lists,
    names: () => catalog.list().map(({ name }) => name),
    write: async (name: string) => {
      const write = recordWrite(record(name), 0);
      await store.commit({ guards: [], writes: [write], release: [] });
    },
    remove: async (name: string) => {
      const entry = await catalog.read(name);
      const writes = recordDeletion(name, entry?.revision ?? 0);
      await store.commit({ guards: [], writes, release: [] });
    },
    stop: async () => {
      mirror[Symbol.dispose]();
      await remembered[Symbol.asyncDispose]();
    },
  };
}

test('a start without the store serves the records that were there last', async () => {
  const before = await host();
  for (const name of ['db', 'web', 'old']) await before.write(name);
  await before.remove('old');
  await eventually(() => expect(before.names()).toEqual(['db', 'web']));
  await before.stop();

  const after = await host({ isAway: true });
  expect(after.catalog.get('db')).toEqual(record('db'));
  expect(after.names()).toEqual(['db', 'web']);
  expect(() => after.catalog.get('old')).toThrow(UnavailableError);
  await after.stop();
  const next = await host({ isAway: true });
  expect(next.names()).toEqual(['db', 'web']);
  await next.stop();
});

test("the store's records replace the remembered ones as soon as it answers", async () => {
  const before = await host();
  await before.write('db');
  await eventually(() => expect(before.names()).toEqual(['db']));
  await before.stop();
  await before.remove('db');
  const after = await host();
  expect(after.catalog.get('db')).toBeUndefined();
  expect(after.names()).toEqual([]);
  await after.stop();
});

test('changes reach the disk soon, even without an orderly end', async () => {
  const killed = await host();
  await killed.write('db');
  const isWritten = () => readFileSync(path, 'utf8').includes('"volumes/db"');
  await eventually(() => expect(killed.names()).toEqual(['db']));
  await clock.pass(1_000);
  await eventually(() => expect(isWritten()).toBe(true));
  const after = await host({ isAway: true });
  expect(after.names()).toEqual(['db']);
  await Promise.all([killed.stop(), after.stop()]);
});

test('the mount marks of other hosts cause no work', async () => {
  const idle = await host();
  await idle.write('db');
  await eventually(() => expect(idle.names()).toEqual(['db']));
  await clock.pass(1_000);
  await eventually(() => expect(existsSync(path)).toBe(true));
  const before = linesOf(path);
  for (let mount = 1; mount <= 3; mount += 1) {
    const mark = { key: mountMarkKey('db'), value: `mark ${mount}` };
    await store.commit({ guards: [], writes: [mark], release: [] });
    await eventually(() =>
      expect(idle.mirror.record(mark.key)).toMatchObject({ value: mark.value }),
    );
    await clock.pass(1_000);
  }
  expect(linesOf(path)).toEqual(before);
  await idle.stop();
});

test('a change of one volume adds a line, however many volumes there are', async () => {
  const idle = await host();
  for (let index = 0; index < 100; index += 1) await idle.write(`db${index}`);
  await eventually(() => expect(idle.names()).toHaveLength(100));
  await written(() => expect(linesOf(path)).toHaveLength(101));
  const { ino, size } = statSync(path);
  const lists = idle.lists();

  await idle.write('web');
  await eventually(() => expect(idle.names()).toHaveLength(101));
  await written(() => expect(linesOf(path)).toHaveLength(102));
  await idle.remove('db0');
  await eventually(() => expect(idle.names()).toHaveLength(100));
  await written(() => expect(linesOf(path).at(-1)).toMatch(/^{"delete":"volumes\/db0"/));
  expect(statSync(path).ino).toBe(ino);
  expect(statSync(path).size - size).toBeLessThan(size / 10);
  expect(idle.lists()).toBe(lists);
  await idle.stop();
  const after = await host({ isAway: true });
  expect(after.names()).toHaveLength(100);
  expect(after.names()).toContain('web');
  await after.stop();
});

test('a file of many changes is replaced by one of the records', async () => {
  const names = Array.from({ length: 200 }, (_, index) => `db${index}`);
  const idle = await host();
  await idle.write('kept');
  for (let round = 1; round <= 6; round += 1) {
    for (const name of names) await idle.write(name);
    await eventually(() => expect(idle.names()).toHaveLength(201));
    await written(() => expect(linesOf(path).at(-1)).toMatch(/"put"/));
    for (const name of names) await idle.remove(name);
    await eventually(() => expect(idle.names()).toEqual(['kept']));
    await written(() => expect(linesOf(path).at(-1)).toMatch(/^{"delete":"volumes\/db199"/));
  }
  // Six times 200 lines are more than 200,000 bytes.
  expect(statSync(path).size).toBeLessThan(150_000);
  await idle.stop();
});

test('records that the mirror read before it was followed are remembered', async () => {
  const before = await host();
  await before.write('old');
  await eventually(() => expect(before.names()).toEqual(['old']));
  const remembered = await RememberedRecords.open({ path, store: 'etcd /berth', clock });
  remembered.follow(before.mirror);
  await before.write('new');
  await eventually(() => expect(before.names()).toHaveLength(2));
  await remembered[Symbol.asyncDispose]();
  expect(
    linesOf(path)
      .slice(1)
      .map((line) => JSON.parse(line).put.key),
  ).toEqual(['volumes/old', 'volumes/new']);
  await before.stop();
});

test('a torn or damaged line hides no other, and the next change repairs the file', async () => {
  const before = await host();
  for (const name of ['db', 'web']) await before.write(name);
  await eventually(() => expect(before.names()).toHaveLength(2));
  await before.stop();
  const [head, db, web] = linesOf(path);
  writeFileSync(path, [head, db, '\0\0\0', web, '{"put":{"na'].join('\n'));
  const damaged = await host({ isAway: true });
  expect(damaged.names()).toEqual(['db', 'web']);
  await damaged.stop();
  const repaired = await host();
  await repaired.write('new');
  await eventually(() => expect(repaired.names()).toHaveLength(3));
  await repaired.stop();
  for (const line of linesOf(path)) expect(() => JSON.parse(line)).not.toThrow();
  const after = await host({ isAway: true });
  expect(after.names()).toEqual(['db', 'web', 'new']);
  await after.stop();
});

test.each([
  ['1', JSON.stringify({ store: 'etcd /berth', records: [record('old'), { v: 9 }] })],
  [
    '2',
    `{"format":2,"store":"etcd /berth"}\n${putOf('old')}${putOf('gone')}{"delete":"gone"}\n{"put":{"v":9}}\n`,
  ],
])('the file of format %s is read, and replaced at the first change', async (_format, text) => {
  writeFileSync(path, text);
  const away = await host({ isAway: true });
  expect(away.names()).toEqual(['old']);
  await away.stop();
  const next = await host();
  await next.write('db');
  await eventually(() => expect(next.names()).toEqual(['db']));
  await next.stop();
  expect(linesOf(path)[0]).toBe('{"format":3,"store":"etcd /berth"}');
  const after = await host({ isAway: true });
  expect(after.names()).toEqual(['db']);
  await after.stop();
});

test.each([
  ['nothing', undefined],
  ['another store', JSON.stringify({ store: 'etcd /other', records: [record('db')] })],
  ['half a file', '{"store":"etcd /be'],
  ['a later format', `{"format":4,"store":"etcd /berth"}\n{"new":1}\n`],
  ['another store in this format', `{"format":2,"store":"etcd /other"}\n${putOf('db')}`],
])('with %s to remember, no volume is reported as missing', async (_what, text) => {
  if (text !== undefined) writeFileSync(path, text);
  const after = await host({ isAway: true });
  expect(() => after.catalog.get('db')).toThrow(UnavailableError);
  expect(() => after.names()).toThrow(UnavailableError);
  await after.stop();
});
