// The embedded store: the store contract and its own file; a real SQLite file, real time but for
// one clock that jumps.
import { copyFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect, test } from '@jest/globals';
import { StoreUnavailableError } from '../../../../lib/lock/errors.ts';
import { embeddedStore } from '../../../../lib/lock/stores/embedded/store.ts';
import type { Clock } from '../../../../lib/running/clock.ts';
import { systemClock } from '../../../../lib/running/clock.ts';
import { embeddedDirectory } from '../../bench/embedded-directory.ts';
import { clientOf, enabled, eventually } from '../../bench/store-bench.ts';
import { StoreMirror } from '../../bench/store-mirror.ts';
import { ticketStoreContract } from '../../store/ticket-store.ts';

ticketStoreContract('embedded', async () => {
  const directory = await embeddedDirectory();
  const { path } = directory;
  return {
    connect: () => embeddedStore({ path }),
    dispose: () => directory[Symbol.asyncDispose](),
    expireSession: async (id) => {
      // Makes the session look like that of a dead process whose PID was used again.
      using db = new DatabaseSync(path, { timeout: 1000 });
      db.prepare("UPDATE sessions SET started = '1' WHERE id = ?").run(id);
    },
  };
});

test('S20 the embedded store creates its directory with access for its user only', async () => {
  await using directory = await embeddedDirectory();
  await using _ = await embeddedStore(directory);
  expect((await stat(join(directory.root, 'state'))).mode & 0o777).toBe(0o700);
});

test('the embedded store keeps records, tickets and tokens when it is closed and opened again', async () => {
  await using directory = await embeddedDirectory();
  const first = await embeddedStore(directory);
  const client = await clientOf(first, 'n1');
  const held = await client.hold('db', 'b');
  const revision = await client.write(held, 'key', 'value');
  await first[Symbol.asyncDispose]();
  await first[Symbol.asyncDispose]();
  await expect(first.record('key')).rejects.toThrow(StoreUnavailableError);
  await using second = await embeddedStore(directory);
  expect(await second.tickets()).toEqual([held]);
  expect(await second.record('key')).toEqual({ key: 'key', value: 'value', revision });
  expect((await (await clientOf(second, 'n2')).hold('c')).token).toBe(revision + 1);
});

test('the embedded store shares its file with the release before, whose tickets have no kind and no owner', async () => {
  await using directory = await embeddedDirectory();
  const first = await embeddedStore(directory);
  const held = await (await clientOf(first, 'n1')).hold('db');
  await first[Symbol.asyncDispose]();
  {
    using db = new DatabaseSync(directory.path);
    db.exec('ALTER TABLE tickets DROP COLUMN kind; ALTER TABLE tickets DROP COLUMN owner');
  }
  await using second = await embeddedStore(directory);
  expect(await second.tickets()).toEqual([{ ...held, kind: 'mount', owner: '?.n1' }]);
  const own = await (await clientOf(second, 'machine.n1')).hold('other');
  expect((await second.tickets('other'))[0]).toEqual(own);
  expect(own).toMatchObject({ kind: 'mount', owner: 'machine.n1' });
});

test('the embedded store drops all sessions of an earlier boot, also resumable ones, and keeps records', async () => {
  await using directory = await embeddedDirectory();
  const before = await embeddedStore({ ...directory, readBootId: () => 'boot 1' });
  const client = await clientOf(before, 'n1');
  const { id } = await before.openSession({ ttlMs: 1, owner: 'daemon', resumable: true });
  const { ticket } = enabled(await before.enqueue({ ...client.request('db'), session: id }));
  await client.hold('other');
  await client.write(ticket, 'key', 'value');
  await before[Symbol.asyncDispose]();

  await using sameBoot = await embeddedStore({ ...directory, readBootId: () => 'boot 1' });
  expect(await sameBoot.tickets()).toHaveLength(2);
  await sameBoot[Symbol.asyncDispose]();

  await using after = await embeddedStore({ ...directory, readBootId: () => 'boot 2' });
  expect(await after.tickets()).toEqual([]);
  expect(await after.record('key')).toMatchObject({ value: 'value' });
  const resume = { ttlMs: 1, owner: 'daemon', resumable: true, resume: id };
  expect(await after.openSession(resume)).toMatchObject({ resumed: false });
});

test('a token that a power cut has taken from the embedded store is not used again', async () => {
  await using directory = await embeddedDirectory();
  const before = await embeddedStore({ ...directory, readBootId: () => 'boot 1' });
  const client = await clientOf(before, 'n1');
  // A power cut loses what was written after the last sync: tickets, and nothing else.
  await client.write(await client.hold('db'), 'key', 'value');
  await copyFile(directory.path, `${directory.path}.synced`);
  await copyFile(`${directory.path}-wal`, `${directory.path}.synced-wal`);
  for (let i = 0; i < 20; i += 1) await client.hold(`lost ${i}`);
  const lost = await client.hold('other');
  await before[Symbol.asyncDispose]();

  const path = `${directory.path}.synced`;
  await using after = await embeddedStore({ path, readBootId: () => 'boot 2' });
  expect(await after.record('key')).toMatchObject({ value: 'value' });
  const next = await (await clientOf(after, 'n1')).hold('other');
  expect(next.token).toBeGreaterThan(lost.token);
});

test('the embedded store does not take a process in another PID namespace for dead', async () => {
  await using directory = await embeddedDirectory();
  await using store = await embeddedStore(directory);
  const client = await clientOf(store, 'n1');
  const held = await client.hold('db');
  using db = new DatabaseSync(directory.path);
  db.exec("UPDATE sessions SET pid = 1234567, namespace = 'pid:[another]'");
  const other = await clientOf(store, 'n2');
  expect(await other.tryEnqueue('db')).toEqual({ state: 'refused', blockers: [held] });
  expect(await store.sessionAlive(client.session)).toBe(true);
});

test('S72 the embedded store names the file when it, or its directory, is unusable', async () => {
  await using directory = await embeddedDirectory();
  const file = join(directory.root, 'file');
  await writeFile(file, 'this is not a database'.repeat(100));
  for (const path of [file, join(file, 'locks.db'), directory.root]) {
    const error: unknown = await embeddedStore({ path }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(StoreUnavailableError);
    expect(error).toMatchObject({ message: expect.stringContaining(path) });
    expect(error).toHaveProperty('cause');
  }
});

test('the embedded store does not touch a file of a newer version', async () => {
  await using directory = await embeddedDirectory();
  await (await embeddedStore(directory))[Symbol.asyncDispose]();
  using db = new DatabaseSync(directory.path);
  db.exec('PRAGMA user_version = 99');
  await expect(embeddedStore(directory)).rejects.toThrow(/newer version/);
});

test('the embedded store waits without blocking while another process locks the file, and gives up in the end', async () => {
  await using directory = await embeddedDirectory();
  const clock = new HurriedClock();
  await using store = await embeddedStore({ ...directory, clock });
  const client = await clientOf(store, 'n1');
  using db = new DatabaseSync(directory.path);

  db.exec('BEGIN IMMEDIATE');
  const later = client.enqueue('db');
  expect(await Promise.race([later, systemClock().sleep(100)])).toBeUndefined();
  db.exec('ROLLBACK');
  expect(await later).toMatchObject({ state: 'granted' });

  db.exec('BEGIN IMMEDIATE');
  const never = client.enqueue('other');
  await systemClock().sleep(50);
  clock.skippedMs = 5000;
  await expect(never).rejects.toThrow(StoreUnavailableError);
  await expect(never).rejects.toThrow(/locked/);
  expect(await store.tickets('db')).toHaveLength(1);
  db.exec('ROLLBACK');
  expect(await store.tickets('other')).toEqual([]);
});

test('S77 the embedded store interrupts watchers while the file is unreadable and resets them afterwards', async () => {
  await using directory = await embeddedDirectory();
  await using store = await embeddedStore(directory);
  const client = await clientOf(store, 'n1');
  const mirror = new StoreMirror();
  using _ = store.watch(mirror);
  await eventually(() => expect(mirror.events).toEqual(['reset']));
  using db = new DatabaseSync(directory.path);
  db.exec('ALTER TABLE changes RENAME TO hidden');
  await eventually(() => expect(mirror.events).toEqual(['reset', 'interrupted']));
  await systemClock().sleep(100);
  db.exec('ALTER TABLE hidden RENAME TO changes');
  await eventually(() => expect(mirror.events).toEqual(['reset', 'interrupted', 'reset']));
  const held = await client.hold('db');
  await eventually(() => expect(mirror.tickets).toEqual([held]));
  expect(mirror.faults).toEqual([]);
});

test('the embedded store resets a watcher that has fallen far behind', async () => {
  await using directory = await embeddedDirectory();
  await using watching = await embeddedStore(directory);
  await using writing = await embeddedStore(directory);
  const client = await clientOf(writing, 'n1');
  const mirror = new StoreMirror();
  using _ = watching.watch(mirror);
  await eventually(() => expect(mirror.events).toEqual(['reset']));
  // All are committed before any timer runs, so the watching connection can't read in between.
  const names = Array.from({ length: 1_100 }, (_, index) => `lock ${index}`);
  const held = await Promise.all(names.map((name) => client.hold(name)));
  await eventually(() => expect(mirror.tickets).toEqual(held));
  expect(mirror.events).toEqual(['reset', 'interrupted', 'reset']);
  expect(mirror.faults).toEqual([]);
});

/** The system's clock, which can also jump forward. */
class HurriedClock implements Clock {
  readonly #clock = systemClock();
  skippedMs = 0;

  now(): number {
    return this.#clock.now() + this.skippedMs;
  }

  date(): Date {
    return this.#clock.date();
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return this.#clock.sleep(ms, signal);
  }
}
