// The embedded store whose file is put back, cut off or replaced: a real SQLite file.
import { copyFile, rename, rm, stat, truncate } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { StoreRefusedError } from '../../../../lib/lock/errors.ts';
import type { HistoryChange } from '../../../../lib/lock/history.ts';
import { embeddedStore } from '../../../../lib/lock/stores/embedded/store.ts';
import type { TicketStore } from '../../../../lib/lock/stores/ticket-store.ts';
import type { EmbeddedDirectory } from '../../bench/embedded-directory.ts';
import { embeddedDirectory } from '../../bench/embedded-directory.ts';
import { keep, manager, queue, take } from '../../bench/manager-bench.ts';
import { clientOf, eventually, shared } from '../../bench/store-bench.ts';

/** Each way in which the file of a host that is down is not the one that it left. */
const ways: readonly {
  readonly name: string;
  readonly says: RegExp;
  readonly change: (path: string) => Promise<void>;
  /** The process before was killed. */
  readonly isKilled?: true;
}[] = [
  {
    name: 'put back from a copy',
    says: /put back to an older state \(its revision was \d+ and is \d+\)/,
    change: (path) => rename(`${path}.copy`, path),
  },
  {
    name: 'cut off',
    says: /cut off, or put back from an older copy \(it had \d+ bytes and has \d+\)/,
    change: async (path) => truncate(path, (await stat(path)).size - 4_096),
  },
  { name: 'empty', says: /it is empty/, change: (path) => truncate(path, 0) },
  { name: 'missing', says: /it is missing/, change: (path) => rm(path) },
  {
    name: 'left without its log',
    says: /its log \(-wal\) is missing/,
    change: (path) => rm(`${path}-wal`),
    isKilled: true,
  },
  {
    name: 'replaced beside its log',
    says: /another file was put in its place while its log/,
    change: (path) => rename(`${path}.copy`, path),
    isKilled: true,
  },
];

/** Each way in which the file of a running process is put back to an earlier state. */
const replacements: readonly {
  readonly name: string;
  readonly ends: readonly string[];
  readonly says: RegExp;
}[] = [
  { name: 'put back alone', ends: [''], says: /another file was put in its place/ },
  { name: 'put back with its log', ends: ['', '-wal'], says: /another file was put in its place/ },
];

describe('the embedded store, whose file', () => {
  let directory: EmbeddedDirectory;
  let boot: string;
  let memoryPath: string;
  const open = () => embeddedStore({ path: directory.path, memoryPath, readBootId: () => boot });

  beforeEach(async () => {
    directory = await embeddedDirectory();
    memoryPath = `${directory.path}.memory`;
    boot = 'boot 1';
  });
  afterEach(() => directory[Symbol.asyncDispose]());

  /** Uses the file, with a copy of it in between; a killed process leaves its log and what it noted. */
  async function useFile(isKilled: boolean): Promise<number> {
    const { path } = directory;
    {
      await using first = await open();
      const client = await clientOf(first, 'n1');
      for (let n = 0; n < 30; n += 1) {
        await client.write(await client.hold(`${n}`), `key ${n}`, 'a value '.repeat(300));
      }
    }
    await copyFile(path, `${path}.copy`);
    const second = await open();
    const client = await clientOf(second, 'n1');
    const { token } = await client.hold('db');
    const kept = ['', '-wal'].map((end) => [`${path}${end}`, `${path}${end}.killed`] as const);
    if (isKilled) {
      for (const [from, to] of [...kept, [memoryPath, `${memoryPath}.killed`] as const]) {
        await copyFile(from, to);
      }
    }
    await second[Symbol.asyncDispose]();
    if (isKilled) {
      for (const [to, from] of [...kept, [memoryPath, `${memoryPath}.killed`] as const]) {
        await copyFile(from, to);
      }
    }
    return token;
  }

  for (const { name, says, change, isKilled = false } of ways) {
    test(`is ${name}, is refused until it is accepted`, async () => {
      const lastToken = await useFile(isKilled);
      await change(directory.path);
      {
        await using refused = await open();
        await expectRefused(refused, says);
      }
      await using again = await open();
      await expectRefused(again, says);
      if (name === 'cut off') {
        await expect(again.accept?.()).rejects.toThrow(/damaged/);
        await rm(directory.path);
      }
      await again.accept?.();
      const granted = await (await clientOf(again, 'n1')).hold('db');
      expect(granted.token).toBeGreaterThan(lastToken);
      expect(await again.health()).toEqual([]);
      await again[Symbol.asyncDispose]();
      await using later = await open();
      expect(await later.health()).toEqual([]);
    });
  }

  test('is as it was left, also by a process that was killed, is used', async () => {
    for (const isKilled of [false, true]) {
      await useFile(isKilled);
      await using store = await open();
      expect(await store.health()).toEqual([]);
      expect(await store.record('key 29')).toBeDefined();
      await store[Symbol.asyncDispose]();
      await rm(directory.path);
      await rm(memoryPath);
    }
  });

  test('has lost tickets in a power cut, is used; without a record that was on disk, it is refused', async () => {
    await useFile(true);
    const { path } = directory;
    const before = await open();
    const client = await clientOf(before, 'n1');
    await client.write(await client.hold('synced'), 'synced', 'value');
    await client.write(await client.hold('later'), 'later', 'value');
    for (const end of ['', '-wal']) await copyFile(path + end, `${path}${end}.onDisk`);
    for (let n = 0; n < 20; n += 1) await client.hold(`lost ${n}`);
    await copyFile(memoryPath, `${memoryPath}.onDisk`);
    await before[Symbol.asyncDispose]();
    for (const end of ['', '-wal']) await copyFile(`${path}${end}.onDisk`, path + end);
    await copyFile(`${memoryPath}.onDisk`, memoryPath);
    boot = 'boot 2';
    {
      await using after = await open();
      expect(await after.record('later')).toBeDefined();
    }
    await copyFile(`${memoryPath}.onDisk`, memoryPath);
    await rename(`${path}.copy`, path);
    boot = 'boot 3';
    await using refused = await open();
    await expectRefused(refused, /put back to an older state|its log \(-wal\) is missing|cut off/);
  });

  for (const { name, ends, says } of replacements) {
    test(`is ${name} while locks are held, shared, kept and waited for, nobody is granted one until it is accepted`, async () => {
      const { path } = directory;
      await using store = await open();
      const n1 = manager(store, 'n1');
      const held = await take(n1, 'old');
      const released = await take(n1, 'ghost');
      for (const end of ends) await copyFile(path + end, `${path}${end}.copy`);
      await released.unlock();
      const heir = keep(await take(n1, 'ghost'), n1);
      const { kept, states } = keep(await take(n1, 'young'), n1);
      const reader = keep(await take(n1, [shared('read')]), n1);
      const waiter = await queue(n1, 'young', { timeoutMs: 120_000 });
      for (const end of ends) await rename(`${path}${end}.copy`, path + end);

      const early = ['free', 'ghost', 'read'].map((lock) => take(n1, lock, { timeoutMs: 0 }));
      for (const { status, ...ended } of await Promise.allSettled(early)) {
        expect([status, ended]).toEqual(['rejected', { reason: expect.any(StoreRefusedError) }]);
      }
      await expect(n1.list()).rejects.toThrow(says);
      await expect(n1.record('any')).rejects.toThrow(StoreRefusedError);
      expect([held.signal.aborted, kept.state, heir.kept.state]).toEqual([false, 'held', 'held']);

      await store.accept?.();
      // Without the tickets of the copy, each holder has a proof that it held its lock until then.
      await eventually(() => expect(states).toEqual(['unproven', 'lost']));
      expect(held.signal.aborted).toBe(true);
      expect(await n1.list()).toEqual([]);
      for (const { kept: lost } of [heir, reader]) {
        const { proof, ticket } = lost;
        await (await take(n1, ticket.locks, { timeoutMs: 0, proof })).unlock();
      }
      const again = await take(n1, 'young', { proof: kept.proof });
      expect(again.token).toBeGreaterThan(kept.token);
      // Its ticket ended with all others, or it asked before.
      await expect(waiter.granted).rejects.toThrow(/removed while it waited|no lock is granted/);
      await again.unlock();
      await n1.close({ keep: false });
    });
  }

  test('is replaced while it is used, is refused, and its locks are not granted to another', async () => {
    await using store = await open();
    const n1 = manager(store, 'n1');
    await copyFile(directory.path, `${directory.path}.copy`);
    const { kept, states } = keep(await take(n1, 'db'), n1);
    const changes: HistoryChange[] = [];
    using _ = n1.onHistoryChanged((change) => changes.push(change));
    await rename(`${directory.path}.copy`, directory.path);
    await expect(take(n1, 'other')).rejects.toThrow(/another file was put in its place/);
    await expect(take(n1, 'db', { timeoutMs: 0 })).rejects.toThrow(StoreRefusedError);
    expect(changes).toEqual([expect.objectContaining({ isRefused: true })]);
    expect(kept.state).toBe('held');

    await store.accept?.();
    const next = await take(n1, 'db');
    expect(states).toEqual(['unproven', 'lost']);
    expect(next.token).toBeGreaterThan(kept.token);
    await n1.close({ keep: false });
  });

  test('is cut off or removed while it is used, is refused without a call', async () => {
    for (const change of [
      async (path: string) => truncate(path, 0),
      (path: string) => rm(path),
      (path: string) => rm(`${path}-wal`),
    ]) {
      const store = await open();
      const n1 = manager(store, 'n1');
      const noticed = new Promise<HistoryChange>((resolve) => n1.onHistoryChanged(resolve));
      await eventually(() => expect(n1.mirror.isLive).toBe(true));
      await change(directory.path);
      expect((await noticed).why).toMatch(/cut off|removed/);
      await n1.close({ keep: true });
      await store[Symbol.asyncDispose]();
      for (const end of ['', '-wal', '-shm']) await rm(directory.path + end, { force: true });
      await rm(memoryPath);
    }
  });
});

async function expectRefused(store: TicketStore, says: RegExp): Promise<void> {
  const changes: HistoryChange[] = [];
  using _ = store.watch({
    reset: () => {},
    change: () => {},
    interrupted: () => {},
    resumed: () => {},
    historyChanged: (change) => changes.push(change),
  });
  const session = store.openSession({ ttlMs: 1_000, owner: 'n1', resumable: true });
  await expect(session).rejects.toThrow(StoreRefusedError);
  await expect(session).rejects.toThrow(says);
  await expect(session).rejects.toThrow(/berth doctor --accept-store/);
  await eventually(() => expect(changes).toEqual([expect.objectContaining({ isRefused: true })]));
  expect(await store.health()).toEqual([
    { severity: 'error', message: expect.stringMatching(says) },
  ]);
}
