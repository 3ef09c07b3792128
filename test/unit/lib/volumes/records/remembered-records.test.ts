// The records that a daemon remembers on disk for a start without its store. A memory store that
// can be cut off, real files.

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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
import { parseRecord } from '../../../../../lib/volumes/volume.ts';
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
  parseRecord(
    JSON.stringify({
      version: 1,
      name,
      driver: 'directory',
      access: 'host',
      options: {},
      createdAt: '2026-01-02T03:04:05.000Z',
      createdBy: 'n1',
      token: 1,
      snapshots: [],
    }),
  );

/** One daemon's view of the store, with its remembered records. */
async function host({ of = 'etcd /berth', isAway = false } = {}) {
  const remembered = await RememberedRecords.open({ path, store: of, clock });
  const away: TicketStore = { ...store, watch: () => ({ [Symbol.dispose]: () => undefined }) };
  const mirror = new StoreMirror(isAway ? away : store);
  const catalog = new Catalog(mirror, store, remembered.records);
  let reads = 0;
  remembered.follow(mirror, () => {
    reads += 1;
    return catalog.list();
  });
  if (!isAway) await mirror.firstReset;
  return {
    catalog,
    mirror,
    reads: () => reads,
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
  const isWritten = () => readFileSync(path, 'utf8').includes('"db"');
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
  const before = idle.reads();
  for (let mount = 1; mount <= 3; mount += 1) {
    const mark = { key: mountMarkKey('db'), value: `mark ${mount}` };
    await store.commit({ guards: [], writes: [mark], release: [] });
    await eventually(() =>
      expect(idle.mirror.record(mark.key)).toMatchObject({ value: mark.value }),
    );
    await clock.pass(1_000);
  }
  expect(idle.reads()).toBe(before);
  await idle.stop();
});

test.each([
  ['nothing', undefined],
  ['another store', JSON.stringify({ store: 'etcd /other', records: [record('db')] })],
  ['half a file', '{"store":"etcd /be'],
])('with %s to remember, no volume is reported as missing', async (_what, text) => {
  if (text !== undefined) writeFileSync(path, text);
  const after = await host({ isAway: true });
  expect(() => after.catalog.get('db')).toThrow(UnavailableError);
  expect(() => after.names()).toThrow(UnavailableError);
  await after.stop();
});
