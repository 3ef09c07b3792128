// Records that a store has lost: what hosts remember, what they put back, and what they do not. Memory stores that
// are wiped and put back, real files, and the storage of a real driver; no time passes.

import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { StoreMirror } from '../../../../../lib/lock/engine/store-mirror.ts';
import { memoryState, memoryStore } from '../../../../../lib/lock/stores/memory/store.ts';
import type { TicketStore } from '../../../../../lib/lock/stores/ticket-store.ts';
import { never } from '../../../../../lib/running/never.ts';
import { LostDoctor } from '../../../../../lib/volumes/doctor/lost-records.ts';
import { directoryDriver } from '../../../../../lib/volumes/drivers/directory/driver.ts';
import type { VolumeDriver } from '../../../../../lib/volumes/drivers/driver.ts';
import { UnavailableError } from '../../../../../lib/volumes/errors.ts';
import type { VolumeEvent } from '../../../../../lib/volumes/events.ts';
import {
  Catalog,
  mountMarkKey,
  recordDeletion,
  recordWrite,
} from '../../../../../lib/volumes/records/catalog.ts';
import { Cluster, clusterKey } from '../../../../../lib/volumes/records/cluster.ts';
import { LostRecords } from '../../../../../lib/volumes/records/lost-records.ts';
import { poolKey } from '../../../../../lib/volumes/records/pool-key.ts';
import { RememberedRecords } from '../../../../../lib/volumes/records/remembered-records.ts';
import type { VolumeRecord } from '../../../../../lib/volumes/volume.ts';
import { recordSchema } from '../../../../../lib/volumes/volume.ts';
import { eventually } from '../../../../support/eventually.ts';
import { FaultyStore } from '../../../../support/faulty-store.ts';
import { ManualClock } from '../../../../support/manual-clock.ts';
import { makeTemporaryDirectory } from '../../../../support/temporary-directory.ts';

let stack: AsyncDisposableStack;
let directory: string;
let clock: ManualClock;
beforeEach(async () => {
  stack = new AsyncDisposableStack();
  directory = stack.use(await makeTemporaryDirectory()).path;
  clock = new ManualClock();
});
afterEach(() => stack.disposeAsync());

const record = (name: string): VolumeRecord =>
  recordSchema.parse({
    ...{ version: 1, name, driver: 'directory', access: 'host', options: {}, token: 1 },
    ...{ createdAt: '2026-01-02T03:04:05.000Z', createdBy: 'n1', snapshots: [] },
  });

/** One past of the store; what its hosts see says that it is the history of that name. */
class History {
  readonly id: string;
  /** The store without faults. */
  readonly sound = memoryStore({ shared: memoryState() });
  readonly store = new FaultyStore(this.sound);

  constructor(id: string) {
    this.id = id;
  }

  /** The store as a daemon has it: each whole state names its history. */
  get named(): TicketStore {
    const history = { id: this.id, isFirst: this.id === 'first' };
    const watch: TicketStore['watch'] = (watcher) =>
      this.store.watch({
        reset: (state) => watcher.reset({ ...state, history }),
        change: (change) => watcher.change(change),
        interrupted: () => watcher.interrupted(),
        resumed: () => watcher.resumed(),
      });
    return new Proxy<TicketStore>(this.store, {
      get: (target, name) => (name === 'watch' ? watch : Reflect.get(target, name, target)),
    });
  }
}

/** The storage of both hosts. */
const driver = () => directoryDriver({ volumeDir: join(directory, 'volumes') });

/** A daemon of host `name` on one past of the store; its next one reads the same file. */
async function daemon(
  name: string,
  history: History,
  more: readonly VolumeDriver[] = [],
  own = driver(),
) {
  const path = join(directory, `${name}.json`);
  const remembered = await RememberedRecords.open({ path, store: 'etcd /berth', clock });
  const store = history.named;
  const mirror = new StoreMirror(store);
  const catalog = new Catalog(mirror, store, remembered.volumes);
  const lost = new LostRecords({ mirror, catalog, remembered });
  const cluster = new Cluster({ mirror, store, trouble: () => lost.clusterTrouble() });
  const events: VolumeEvent[] = [];
  const sink = { record: (event: VolumeEvent) => void events.push(event) };
  remembered.follow(mirror);
  stack.use(lost.follow(sink));
  await mirror.firstReset;
  const doctor = new LostDoctor({
    ...{ lost, remembered, cluster, mirror, store, clock, host: name, events: sink },
    drivers: new Map([own, ...more].map((each, index) => [index ? 'more' : each.name, each])),
  });
  return {
    ...{ catalog, lost, cluster, doctor, mirror, events, store },
    names: () =>
      catalog
        .list()
        .map((each) => each.name)
        .sort(),
    lostNames: () => [...lost.records.keys()].sort(),
    /** Creates storage and record. */
    create: async (volume: string) => {
      await driver().create(record(volume), { signal: never });
      const writes = [recordWrite(record(volume), 0)];
      await store.commit({ guards: [], writes, release: [] });
      await eventually(() => expect(catalog.get(volume)).toBeDefined());
    },
    remove: async (volume: string) => {
      await driver().remove(record(volume), { signal: never });
      const { revision = 0 } = (await catalog.read(volume)) ?? {};
      await store.commit({ guards: [], writes: recordDeletion(volume, revision), release: [] });
      await eventually(() => expect(catalog.get(volume)).toBeUndefined());
    },
    stop: async () => {
      mirror[Symbol.dispose]();
      await remembered[Symbol.asyncDispose]();
    },
  };
}

/** A cluster with a marked pool, in its first history, that both hosts have seen. */
async function founded(history: History) {
  const one = await daemon('n1', history);
  const id = await one.cluster.id();
  await driver().pool.mark(id);
  const value = JSON.stringify({
    version: 1,
    state: 'marked',
    owner: 'n1',
    host: 'n1',
    since: 'x',
  });
  const writes = [{ key: poolKey('directory'), value }];
  await one.store.commit({ guards: [], writes, release: [] });
  return { one, id };
}

const states = (outcomes: readonly { what: string; state: string }[]) =>
  Object.fromEntries(outcomes.map(({ what, state }) => [what, state]));

test('what is deleted together with the record of the cluster is lost, also to the next daemon; what was removed is not', async () => {
  const history = new History('first');
  const { one } = await founded(history);
  for (const name of ['db', 'web', 'old']) await one.create(name);
  await one.remove('old');
  const keys = [clusterKey, 'volumes/db', 'volumes/web', poolKey('directory')];
  const writes = keys.map((key) => ({ key, value: undefined }));
  await one.store.commit({ guards: [], writes, release: [] });
  await eventually(() => expect(one.lostNames()).toEqual([...keys].sort()));
  const check = async (host: Awaited<ReturnType<typeof daemon>>) => {
    expect(host.names()).toEqual(['db', 'web']);
    expect(host.catalog.get('db')).toEqual(record('db'));
    expect(host.catalog.get('old')).toBeUndefined();
    expect(() => host.lost.refuse('db')).toThrow(/berth doctor --restore-records/);
    expect(() => host.lost.refuse('other')).toThrow(/record of the cluster is missing/);
    await expect(host.cluster.id()).rejects.toThrow(UnavailableError);
    expect(host.lost.conditions()).toHaveLength(1);
    expect(host.events).toMatchObject([{ kind: 'records-lost' }]);
  };
  await check(one);
  await one.stop();
  const next = await daemon('n1', history);
  await check(next);
  expect(await next.store.record(clusterKey)).toBeUndefined();
  await next.stop();
});

test('a wiped store gets back what is still there, once, with the same cluster', async () => {
  const { one, id } = await founded(new History('first'));
  for (const name of ['db', 'web', 'gone']) await one.create(name);
  await one.stop();
  await rm(join(directory, 'volumes/directory/gone'), { recursive: true });
  const wiped = new History('second');
  const next = await daemon('n1', wiped);
  const look = await next.doctor.examine();
  expect(look.map(({ what }) => what)).toHaveLength(5);
  expect(look.find(({ what }) => what === 'gone')?.message).toMatch(
    /removed while this host was away/,
  );
  expect(await next.store.records('')).toEqual([]);
  // The mark of a holder stays, and what somebody creates meanwhile.
  const mark = { key: mountMarkKey('db'), value: 'held' };
  const created = recordWrite({ ...record('web'), createdBy: 'n9' }, 0);
  wiped.store.fail('commit', { answersAfterMs: 0 }, { answersAfterMs: 100 });
  const restoring = next.doctor.restore();
  await eventually(async () => expect(await wiped.sound.records('restored/')).toHaveLength(1));
  await wiped.sound.commit({ guards: [], writes: [mark, created], release: [] });

  const outcomes = await restoring;
  expect(outcomes.every(({ state }) => state === 'fixed')).toBe(true);
  expect(next.lostNames()).toEqual([]);
  expect(next.names()).toEqual(['db', 'web']);
  expect(await next.cluster.id()).toBe(id);
  expect(next.lost.conditions()).toEqual([]);
  expect((await next.catalog.read('web'))?.record.createdBy).toBe('n9');
  expect((await next.store.record(mountMarkKey('db')))?.value).toBe('held');
  expect(await next.doctor.restore()).toEqual([]);
  await next.stop();
});

test('a repeat completes an interrupted restore, also on another host', async () => {
  const first = new History('first');
  const { one } = await founded(first);
  const two = await daemon('n2', first);
  for (const name of ['a', 'b', 'c', 'd']) await one.create(name);
  await eventually(() => expect(two.names()).toHaveLength(4));
  await Promise.all([one.stop(), two.stop()]);
  const wiped = new History('second');
  const again = await daemon('n1', wiped);
  // The first steps are the beginning, the cluster and the pool.
  for (let step = 1; step <= 3; step += 1) wiped.store.fail('commit', { answersAfterMs: 0 });
  for (let step = 1; step <= 2; step += 1) wiped.store.fail('commit', 'lost request');
  const cut = await again.doctor.restore();
  expect(cut.filter(({ state }) => state === 'failed')).toHaveLength(2);
  expect(again.lostNames()).toHaveLength(2);
  await again.stop();

  const other = await daemon('n2', wiped);
  expect(other.lostNames()).toHaveLength(2);
  expect((await other.doctor.restore()).every(({ state }) => state === 'fixed')).toBe(true);
  expect(other.names()).toEqual(['a', 'b', 'c', 'd']);
  await other.stop();
  const last = await daemon('n1', wiped);
  expect(last.lostNames()).toEqual([]);
  await last.stop();
});

test('a volume that was removed while a host was away is not put back, before the loss and after the return', async () => {
  const first = new History('first');
  const { one } = await founded(first);
  for (const name of ['db', 'early', 'late']) await one.create(name);
  const away = await daemon('n2', first);
  await eventually(() => expect(away.names()).toHaveLength(3));
  await away.stop();
  await one.remove('early');
  await one.create('new');
  await one.stop();
  const wiped = new History('second');
  const again = await daemon('n1', wiped);
  await again.doctor.restore();
  expect(again.names()).toEqual(['db', 'late', 'new']);
  await again.remove('late');
  // Others have made storage of these names since: it tells nothing.
  for (const name of ['early', 'late']) await driver().create(record(name), { signal: never });

  const back = await daemon('n2', wiped);
  expect(back.lostNames()).toEqual([]);
  expect(await back.doctor.restore()).toEqual([]);
  expect(back.names()).toEqual(['db', 'new']);
  await Promise.all([again.stop(), back.stop()]);
});

test('a host that has seen more adds what it knows, and completes what it began', async () => {
  const first = new History('first');
  const { one } = await founded(first);
  await one.create('db');
  await one.create('drop');
  const older = await daemon('n2', first);
  await eventually(() => expect(older.names()).toEqual(['db', 'drop']));
  await older.stop();
  await one.create('new');
  await one.stop();
  const wiped = new History('second');
  const behind = await daemon('n2', wiped);
  await behind.doctor.restore();
  expect(behind.names()).toEqual(['db', 'drop']);
  await behind.remove('drop');
  await driver().create(record('drop'), { signal: never });
  await behind.stop();

  const ahead = await daemon('n1', wiped);
  expect(ahead.lostNames()).toEqual(['volumes/new']);
  expect(states(await ahead.doctor.restore())).toEqual({ new: 'fixed' });
  expect(ahead.names()).toEqual(['db', 'new']);
  await ahead.stop();

  const again = new History('third');
  const begun = await daemon('n1', again);
  again.store.fail('commit', { answersAfterMs: 0 });
  for (let step = 1; step <= 4; step += 1) again.store.fail('commit', 'lost request');
  await begun.doctor.restore();
  const less = await daemon('n2', again);
  await expect(less.doctor.restore()).rejects.toThrow(/host n1 has seen more/);
  expect(await less.store.records('volumes/')).toEqual([]);
  await begun.doctor.restore();
  await eventually(() => expect(less.lostNames()).toEqual([]));
  expect(less.names()).toEqual(['db', 'new']);
  await Promise.all([begun.stop(), less.stop()]);
});

test('records whose storage this host can not see wait, and nothing is completed', async () => {
  const { one } = await founded(new History('first'));
  await one.create('db');
  await one.stop();
  await rm(driver().pool.markPath);
  const wiped = new History('second');
  const next = await daemon('n1', wiped);
  const outcomes = await next.doctor.restore();
  expect(outcomes.find(({ what }) => what === 'db')).toMatchObject({
    state: 'found',
    message: expect.stringMatching(/has no mark/),
  });
  expect(next.lostNames()).toEqual(['volumes/db']);
  expect(await next.store.records('volumes/')).toEqual([]);
  await driver().pool.mark(await next.cluster.id());
  expect(states(await next.doctor.restore())).toEqual({ db: 'fixed' });
  await next.stop();
});

test('the cluster that no host remembers is the one whose mark the pools carry', async () => {
  const { one, id } = await founded(new History('first'));
  await one.create('db');
  await one.stop();
  await forgetCluster('n1');
  // A driver without volumes tells nothing, whatever its pool says.
  const next = await daemon('n1', new History('third'), [await archive()]);
  expect((await next.doctor.restore()).every(({ state }) => state === 'fixed')).toBe(true);
  expect(next.names()).toEqual(['db']);
  expect(await next.cluster.id()).toBe(id);
  await next.stop();
});

/** A driver whose pool has the mark of another cluster. */
async function archive(): Promise<VolumeDriver> {
  const made = directoryDriver({ volumeDir: join(directory, 'archive') });
  await made.pool.mark(crypto.randomUUID());
  return made;
}

/** Ends what the host remembers of the cluster, as if berth 0.1.0 had written it. */
async function forgetCluster(host: string): Promise<void> {
  const memory = join(directory, `${host}.json`);
  const lines = (await readFile(memory, 'utf8')).split('\n');
  await writeFile(memory, lines.filter((line) => !line.includes(`"${clusterKey}"`)).join('\n'));
}

test('nothing is put back while volumes lie in pools with the marks of several clusters', async () => {
  const { one } = await founded(new History('first'));
  await one.create('db');
  const old = recordWrite({ ...record('old'), driver: 'more' }, 0);
  await one.store.commit({ guards: [], writes: [old], release: [] });
  await eventually(() => expect(one.names()).toEqual(['db', 'old']));
  await one.stop();
  await forgetCluster('n1');
  const unsure = await daemon('n1', new History('second'), [await archive()]);
  await expect(unsure.doctor.restore()).rejects.toThrow(/the marks of several clusters/);
  expect(await unsure.store.records('')).toEqual([]);
  await unsure.stop();
});

test('no new cluster begins when the pools that tell the cluster could be read too late', async () => {
  const { one, id } = await founded(new History('first'));
  await one.create('db');
  await one.stop();
  await forgetCluster('n1');
  let looks = 0;
  const look = async () => {
    looks += 1;
    if (looks === 1) throw new Error('Stale file handle');
    return await driver().pool.look();
  };
  const late = { ...driver(), pool: { ...driver().pool, look } };
  const next = await daemon('n1', new History('second'), [], late);
  expect((await next.doctor.restore()).find(({ what }) => what === 'db')).toMatchObject({
    state: 'found',
    message: expect.stringMatching(/it is not known whether/),
  });
  expect(await next.store.record(clusterKey)).toBeUndefined();
  expect((await next.doctor.restore()).every(({ state }) => state === 'fixed')).toBe(true);
  expect(await next.cluster.id()).toBe(id);
  await next.stop();
});

test('nothing is put into the store of another cluster, until a person gives the memory up', async () => {
  const { one } = await founded(new History('first'));
  await one.create('db');
  await one.stop();
  const other = new History('other');
  const stranger = await daemon('n9', new History('first'));
  const id = await stranger.cluster.id();
  await stranger.stop();
  const value = JSON.stringify({ version: 1, id });
  const writes = [{ key: clusterKey, value }];
  await other.store.commit({ guards: [], writes, release: [] });
  const next = await daemon('n1', other);
  await expect(next.doctor.restore()).rejects.toThrow(/another cluster/);
  expect(await next.cluster.id()).toBe(id);
  expect(await next.store.records('volumes/')).toEqual([]);
  await next.doctor.forget();
  expect(next.names()).toEqual([]);
  expect(next.lost.conditions()).toEqual([]);
  await next.stop();
});

test('a person can go on without the records, and all hosts do', async () => {
  const first = new History('first');
  const { one, id } = await founded(first);
  await one.create('db');
  const two = await daemon('n2', first);
  await Promise.all([one.stop(), two.stop()]);
  const wiped = new History('second');
  const [next, other] = [await daemon('n1', wiped), await daemon('n2', wiped)];
  expect(other.names()).toEqual(['db']);
  expect(states(await next.doctor.forget())).toMatchObject({ db: 'fixed' });
  const now = await next.cluster.id();
  expect(now).not.toBe(id);
  await eventually(() => expect(other.names()).toEqual([]));
  expect(await other.cluster.id()).toBe(now);
  // A host that was not there before neither founds a cluster in a wiped store.
  const third = new History('third');
  const fresh = await daemon('n3', third);
  await expect(fresh.cluster.id()).rejects.toThrow(/on a host that was here before/);
  await Promise.all([next.stop(), other.stop(), fresh.stop()]);
});

test('a restore writes nothing that another host has settled since the look', async () => {
  const { one } = await founded(new History('first'));
  await one.create('db');
  await one.stop();
  const wiped = new History('second');
  const next = await daemon('n1', wiped);
  wiped.store.fail('commit', { answersAfterMs: 0 }, { answersAfterMs: 200 });
  const restoring = next.doctor.restore();
  await eventually(async () => expect(await wiped.sound.records('restored/')).toHaveLength(1));
  // Another host completes the same, and a person removes db then; storage of that name tells nothing.
  const value = {
    version: 1,
    state: 'done',
    seen: Number.MAX_SAFE_INTEGER,
    by: 'n2',
    at: 'x',
    nonce: 'x',
  };
  const done = { key: 'restored/first', value: JSON.stringify(value) };
  await wiped.sound.commit({ guards: [], writes: [done], release: [] });
  await eventually(() => expect(next.lostNames()).toEqual([]));
  const outcomes = await restoring;
  expect(outcomes.find(({ what }) => what === 'db')?.message).toMatch(/meanwhile/);
  expect(await wiped.sound.records('volumes/')).toEqual([]);
  await next.stop();
});

test('a name that only a begun rename keeps is lost with its record, so its storage is not storage without one', async () => {
  const first = new History('first');
  const { one, id } = await founded(first);
  const web = { ...record('web'), version: 2 as const, renamingTo: 'app' };
  const app = { ...record('app'), version: 2 as const, renamingFrom: 'web' };
  const writes = [recordWrite(web, 0), recordWrite(app, 0)];
  await one.store.commit({ guards: [], writes, release: [] });
  await eventually(() => expect(one.names()).toEqual(['web']));
  await one.stop();
  const older = new History('second');
  const cluster = { key: clusterKey, value: JSON.stringify({ version: 1, id }) };
  await older.sound.commit({ guards: [], writes: [cluster], release: [] });
  const next = await daemon('n1', older);
  expect(next.lostNames()).toContain('volumes/app');
  expect(next.catalog.isLost('app')).toBe(true);
  expect(() => next.lost.refuse('app')).toThrow(/lost the record of volume app/);
  await next.stop();
});

test('a host whose lost records another host has put back says nothing of a loss at its start', async () => {
  const first = new History('first');
  const { one } = await founded(first);
  await one.create('db');
  const two = await daemon('n2', first);
  await eventually(() => expect(two.names()).toEqual(['db']));
  await Promise.all([one.stop(), two.stop()]);
  const wiped = new History('second');
  const [away, other] = [await daemon('n1', wiped), await daemon('n2', wiped)];
  expect(away.events).toMatchObject([{ kind: 'records-lost' }]);
  await away.stop();
  await other.doctor.restore();
  const back = await daemon('n1', wiped);
  expect(back.events).toEqual([]);
  expect(back.lost.conditions()).toEqual([]);
  await Promise.all([back.stop(), other.stop()]);
});

test('what one host remembers of a history without an ID does not end what another one remembers', async () => {
  const format2 = (name: string, volumes: readonly string[]) => {
    const puts = volumes.map((volume) => ({ put: record(volume) }));
    const lines = [{ format: 2, store: 'etcd /berth' }, ...puts];
    const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
    return writeFile(join(directory, `${name}.json`), text);
  };
  await format2('n1', ['db', 'gone']);
  await format2('n2', ['db', 'gone', 'web']);
  for (const name of ['db', 'web']) await driver().create(record(name), { signal: never });
  await driver().pool.mark('5f3a2c1e-9a4b-4c8d-8e7f-0123456789ab');
  const wiped = new History('second');
  const [one, two] = [await daemon('n1', wiped), await daemon('n2', wiped)];
  expect(states(await one.doctor.restore())).toEqual({ db: 'fixed', gone: 'fixed' });
  expect(one.lostNames()).toEqual([]);
  await eventually(() =>
    expect(two.mirror.record('restored/unknown')?.value).toMatch(/"state":"done"/),
  );
  expect(two.lostNames()).toContain('volumes/web');
  await Promise.all([one.stop(), two.stop()]);
});

test('what was deleted while a host was away is lost, although another host has begun a new cluster since', async () => {
  const history = new History('first');
  const { one } = await founded(history);
  await one.create('db');
  await one.stop();
  const keys = [clusterKey, 'volumes/db', poolKey('directory')];
  const writes = keys.map((key) => ({ key, value: undefined }));
  await history.sound.commit({ guards: [], writes, release: [] });
  const fresh = await daemon('n3', history);
  await fresh.cluster.id();
  const back = await daemon('n1', history);
  expect(back.lostNames()).toEqual([...keys].sort());
  expect(back.names()).toEqual(['db']);
  await expect(back.doctor.restore()).rejects.toThrow(/another cluster/);
  await Promise.all([fresh.stop(), back.stop()]);
});
