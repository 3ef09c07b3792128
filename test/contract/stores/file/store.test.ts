// The file store: the store contract, its files and its disk; real files and `flock`, real time.
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { copyFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { StoreUnavailableError } from '../../../../lib/lock/errors.ts';
import { fileStore } from '../../../../lib/lock/stores/file/store.ts';
import { openDescriptors, runOk } from '../../../support/processes.ts';
import { describeWith } from '../../../support/requirements.ts';
import { fileDirectory, fileFixture, holdTurn, unlockSession } from '../../bench/file-directory.ts';
import { clientOf, eventually, exclusive } from '../../bench/store-bench.ts';
import { StoreMirror } from '../../bench/store-mirror.ts';
import { ticketStoreContract } from '../../store/ticket-store.ts';

describeWith(['flock'], 'the file store', () => {
  ticketStoreContract('file', fileFixture);

  test('S20 creates its directory with access for its user only, and names no file after a lock', async () => {
    await using place = await fileDirectory();
    await using store = await fileStore({ directory: place.path });
    const client = await clientOf(store, '../../n1');
    await client.hold('../../etc/passwd', 'state.json', 'mutex', '/');
    expect((await stat(place.path)).mode & 0o777).toBe(0o700);
    const [turn] = readdirSync(join(place.path, 'turn'));
    const files = ['mutex', `sessions/${client.session}`, 'state.json', `turn/${turn}`];
    const folders = ['sessions', 'turn'];
    expect(readdirSync(place.path, { recursive: true }).toSorted()).toEqual(
      [...files, ...folders].toSorted(),
    );
    for (const [names, mode] of [[files, 0o600] as const, [folders, 0o700] as const]) {
      for (const name of names) {
        expect((await stat(join(place.path, name))).mode & 0o777).toBe(mode);
      }
    }
    const holder = JSON.parse(await readFile(join(place.path, 'sessions', client.session), 'utf8'));
    expect(holder).toMatchObject({ owner: '../../n1', pid: process.pid });
  });

  test('keeps records, gates and tokens over a close, and drops tickets', async () => {
    await using place = await fileDirectory();
    const first = await fileStore({ directory: place.path });
    const client = await clientOf(first, 'n1');
    const held = await client.hold('db', 'b');
    const gate = { lockName: 'g', host: 'n1', since: '2026-01-02T03:04:05Z', why: 'upgrade' };
    await first.closeGate(gate);
    const revision = await client.write(held, 'key', 'value');
    await first[Symbol.asyncDispose]();
    await first[Symbol.asyncDispose]();
    await expect(first.record('key')).rejects.toThrow(StoreUnavailableError);
    await expect(client.enqueue('db')).rejects.toThrow(StoreUnavailableError);
    await using second = await fileStore({ directory: place.path });
    expect(await second.tickets()).toEqual([]);
    expect(await second.gates()).toEqual([gate]);
    expect(await second.record('key')).toEqual({ key: 'key', value: 'value', revision });
    const next = await (await clientOf(second, 'n2')).hold('c');
    expect(next.token).toBeGreaterThan(revision);
  });

  test('leaves no file and no descriptor of 100 sessions with locks', async () => {
    await using place = await fileDirectory();
    const before = await openDescriptors(process.pid);
    {
      await using store = await fileStore({ directory: place.path });
      await using other = await fileStore({ directory: place.path });
      await Promise.all(
        Array.from({ length: 100 }, async (_, index) => {
          const client = await clientOf(index % 2 === 0 ? store : other, 'n1');
          await client.hold(`lock ${index}`);
          await (index % 3 === 0 ? store : other).closeSession(client.session);
        }),
      );
      await (await clientOf(store, 'n1')).hold('db');
    }
    expect(await openDescriptors(process.pid)).toBe(before);
    const left = readdirSync(place.path, { recursive: true }).toSorted();
    expect(left).toEqual(['mutex', 'sessions', 'state.json', 'turn']);
  });

  test('writes concurrent requests in one step', async () => {
    await using place = await fileDirectory('/dev/shm');
    await using store = await fileStore({ directory: place.path });
    const client = await clientOf(store, 'n1');
    const path = join(place.path, 'state.json');
    const inodes = new Set<number>();
    const answers = Array.from({ length: 100 }, async (_, index) => {
      await client.hold(`lock ${index}`);
      inodes.add((await stat(path)).ino);
    });
    await Promise.all(answers);
    expect(inodes.size).toBeLessThanOrEqual(2);
  });

  test('closes at once, also at the moment when a step ends', async () => {
    await using place = await fileDirectory('/dev/shm');
    for (let ticks = 0; ticks < 10; ticks += 1) {
      await using store = await fileStore({ directory: place.path });
      const client = await clientOf(store, 'n1');
      await client.store.remove(await client.hold('db'));
      for (let tick = 0; tick < ticks; tick += 1) await Promise.resolve();
    }
  });

  test('reads what another process wrote, however often the file was replaced', async () => {
    await using place = await fileDirectory();
    await using reader = await fileStore({ directory: place.path });
    await using store = await fileStore({ directory: place.path });
    const client = await clientOf(store, 'n1');
    for (let round = 0; round < 20; round += 1) {
      const held = await client.hold('db');
      expect(await reader.tickets()).toEqual([held]);
      await store.remove(held);
      // A file system gives the inode number of a deleted file to a new file.
      for (let times = 0; times < round % 4; times += 1) await store.remove(await client.hold('x'));
      expect(await reader.tickets()).toEqual([]);
    }
  });

  test('drops what an earlier process left when it is opened', async () => {
    await using place = await fileDirectory();
    const { path: directory } = place;
    await using first = await fileStore({ directory });
    const client = await clientOf(first, 'n1');
    await client.hold('db');
    const without = await clientOf(first, 'n2');
    for (const { session } of [client, without]) unlockSession(session);
    const leftOver = join(directory, 'sessions', '00000000-0000-4000-8000-000000000000');
    const foreign = join(directory, 'sessions', 'notes');
    for (const path of [leftOver, foreign]) writeFileSync(path, '');
    await using second = await fileStore({ directory });
    expect(readdirSync(join(directory, 'sessions'))).toEqual(['notes']);
    expect(await second.tickets()).toEqual([]);
    await expect(first.renewSession(without.session)).rejects.toThrow('has ended');
  });

  test('opens a session although its new file is removed as a left-over', async () => {
    await using place = await fileDirectory();
    await using store = await fileStore({ directory: place.path });
    const folder = join(place.path, 'sessions');
    await store.health(); // Makes the folder of the turn.
    const turn = holdTurn(place.path);
    const opening = clientOf(store, 'n1');
    await eventually(() => expect(readdirSync(folder)).toHaveLength(1));
    await rm(join(folder, readdirSync(folder)[0] ?? ''));
    turn[Symbol.dispose]();
    const client = await opening;
    expect(readdirSync(folder)).toEqual([client.session]);
    expect(await store.sessionAlive(client.session)).toBe(true);
  });

  test('does not take a process for dead whose file was deleted, and reports it', async () => {
    await using place = await fileDirectory();
    await using store = await fileStore({ directory: place.path });
    const [client, other] = [await clientOf(store, 'n1'), await clientOf(store, 'n2')];
    const held = await client.hold('db');
    expect(await store.health()).toEqual([]);
    await rm(join(place.path, 'sessions', client.session));
    expect(await other.tryEnqueue('db')).toEqual({ state: 'refused', blockers: [held] });
    expect(await store.sessionAlive(client.session)).toBe(true);
    expect(await store.health()).toEqual([
      { severity: 'warning', message: expect.stringContaining(client.session) },
    ]);
    await store.closeSession(client.session);
    await other.hold('db');
    expect(await store.health()).toEqual([]);
  });

  test('S72 names the directory when it is unusable', async () => {
    await using place = await fileDirectory();
    const file = join(place.root, 'file');
    await writeFile(file, '');
    for (const directory of [file, join(file, 'locks')]) {
      const error: unknown = await fileStore({ directory }).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(StoreUnavailableError);
      expect(error).toMatchObject({ message: expect.stringContaining(directory) });
      expect(error).toHaveProperty('cause');
    }
    const nfs = fileStore({ directory: place.path, readFileSystemType: () => 0x6969 });
    await expect(nfs).rejects.toThrow(/is on NFS.* local file system/);
  });

  test.each(['', '{"format":1', '{"format":1}', '[]', '{"format":1,"revision":"x"}'])(
    'does not touch a damaged state file: %j',
    async (text) => {
      await using place = await fileDirectory();
      const { path: directory } = place;
      await (await fileStore({ directory }))[Symbol.asyncDispose]();
      const path = join(directory, 'state.json');
      await writeFile(path, text);
      const opening = fileStore({ directory });
      await expect(opening).rejects.toThrow(StoreUnavailableError);
      await expect(opening).rejects.toThrow(`${path} is damaged`);
      expect(await readFile(path, 'utf8')).toBe(text);
    },
  );

  test('does not touch the state of a newer version, also while it runs', async () => {
    await using place = await fileDirectory();
    const { path: directory } = place;
    await using store = await fileStore({ directory });
    const client = await clientOf(store, 'n1');
    const newer = '{"format":99}';
    const path = join(directory, 'state.json');
    writeFileSync(`${path}.other`, newer);
    renameSync(`${path}.other`, path);
    await expect(client.enqueue('db')).rejects.toThrow(/newer version/);
    await expect(store.tickets()).rejects.toThrow(/newer version/);
    await expect(fileStore({ directory })).rejects.toThrow(/newer version/);
    expect(await store.health()).toMatchObject([{ severity: 'error' }]);
    expect(await readFile(path, 'utf8')).toBe(newer);
  });

  test('does not create a new state when its state is removed while it runs', async () => {
    await using place = await fileDirectory();
    await using store = await fileStore({ directory: place.path });
    const client = await clientOf(store, 'n1');
    await rm(join(place.path, 'state.json'));
    await expect(client.enqueue('db')).rejects.toThrow(/has been removed/);
  });

  test('gives up a step while another process has the turn, and goes on later', async () => {
    await using place = await fileDirectory();
    await using store = await fileStore({ directory: place.path });
    const client = await clientOf(store, 'n1');
    const held = await client.hold('db');
    {
      using _ = holdTurn(place.path);
      const startedAt = performance.now();
      const stuck = [client.enqueue('a'), client.enqueue('b')];
      expect(await store.tickets()).toEqual([held]);
      expect(await store.stands(held)).toBe(true);
      for (const step of stuck) await expect(step).rejects.toThrow(StoreUnavailableError);
      await expect(stuck[0]).rejects.toThrow(
        /has been changing the state.* \(fuser -v .*turn\/now names it\)/,
      );
      expect(performance.now() - startedAt).toBeLessThan(40_000);
    }
    expect(await store.tickets()).toEqual([held]);
    await client.hold('a', 'b');
  });

  test('starts no program for a step', async () => {
    await using place = await fileDirectory();
    await using store = await fileStore({ directory: place.path });
    await using other = await fileStore({ directory: place.path });
    const [client, second] = [await clientOf(store, 'n1'), await clientOf(other, 'n2')];
    let programs = 0;
    const count = () => {
      programs += 1;
    };
    subscribe('child_process', count);
    try {
      for (let cycle = 0; cycle < 20; cycle += 1) {
        await store.remove(await client.hold('db'));
        await other.remove(await second.hold('db'));
      }
      expect(programs).toBe(0);
      await clientOf(store, 'n3'); // Locks the file of its session.
      expect(programs).toBe(1);
    } finally {
      unsubscribe('child_process', count);
    }
  });

  test('closes although its last step fails, and its locks end', async () => {
    await using place = await fileDirectory();
    const store = await fileStore({ directory: place.path });
    await (await clientOf(store, 'n1')).hold('db');
    await using other = await fileStore({ directory: place.path });
    {
      using _ = holdTurn(place.path);
      await store[Symbol.asyncDispose]();
    }
    expect(await other.tickets()).toEqual([]);
  });

  test('S77 interrupts watchers while the state is unreadable and resets them afterwards', async () => {
    await using place = await fileDirectory();
    await using store = await fileStore({ directory: place.path });
    const client = await clientOf(store, 'n1');
    await client.hold('before');
    const mirror = new StoreMirror();
    using _ = store.watch(mirror);
    await eventually(() => expect(mirror.events).toEqual(['reset']));
    const path = join(place.path, 'state.json');
    copyFileSync(path, `${path}.kept`);
    writeFileSync(`${path}.broken`, 'broken');
    renameSync(`${path}.broken`, path);
    await eventually(() => expect(mirror.events).toEqual(['reset', 'interrupted']));
    await pause(100);
    renameSync(`${path}.kept`, path);
    await eventually(() => expect(mirror.events).toEqual(['reset', 'interrupted', 'reset']));
    const held = await client.hold('db');
    await eventually(() => expect(mirror.tickets).toContainEqual(held));
    expect(mirror.faults).toEqual([]);
  });

  test('resets a watcher that has fallen far behind', async () => {
    await using place = await fileDirectory();
    await using watching = await fileStore({ directory: place.path });
    await using writing = await fileStore({ directory: place.path });
    const client = await clientOf(writing, 'n1');
    const mirror = new StoreMirror();
    using _ = watching.watch(mirror);
    await eventually(() => expect(mirror.events).toEqual(['reset']));
    // All in one write, so the watching connection can't see some of them only.
    const names = Array.from({ length: 200 }, (_, index) => `lock ${index}`);
    await Promise.all(names.map((name) => client.enqueue(exclusive(name))));
    await eventually(() => expect(mirror.tickets).toHaveLength(200));
    expect(mirror.events).toEqual(['reset', 'interrupted', 'reset']);
    expect(mirror.faults).toEqual([]);
  });
});

describeWith(['root', 'flock'], 'the file store on a disk of its own', () => {
  test('S72 changes nothing when the disk is full or read-only, and goes on later', async () => {
    await using place = await fileDirectory();
    await runOk('mount', ['-t', 'tmpfs', '-o', 'size=128k', 'berth-test', place.root]);
    try {
      {
        await using store = await fileStore({ directory: place.path });
        const client = await clientOf(store, 'n1');
        const held = await client.hold('db');
        await client.write(held, 'key', 'small');
        const large = client.write(held, 'key', 'x'.repeat(200_000));
        await expect(large).rejects.toThrow(StoreUnavailableError);
        await expect(large).rejects.toThrow(/the disk is full/);
        expect(await store.record('key')).toMatchObject({ value: 'small' });
        await client.write(held, 'key', 'still small');
        expect(await store.health()).toEqual([]);
      }
      await runOk('mount', ['-o', 'remount,ro', place.root]);
      await using store = await fileStore({ directory: place.path });
      await expect(clientOf(store, 'n1')).rejects.toThrow(/read-only/);
      expect(await store.record('key')).toMatchObject({ value: 'still small' });
      expect(await store.health()).toMatchObject([{ severity: 'error' }]);
      await runOk('mount', ['-o', 'remount,rw', place.root]);
      await (await clientOf(store, 'n1')).hold('db');
      await store[Symbol.asyncDispose]();
    } finally {
      await runOk('umount', [place.root]);
    }
  });
});
