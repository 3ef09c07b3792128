import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';
import type { TicketStore } from '../../../lib/lock/stores/ticket-store.ts';
import type { Ticket } from '../../../lib/lock/ticket.ts';
import type { LocalPlace, LocalStore } from '../bench/local-stores.ts';
import { localStores } from '../bench/local-stores.ts';
import type { Client } from '../bench/store-bench.ts';
import { clientOf, eventually } from '../bench/store-bench.ts';
import { StoreMirror } from '../bench/store-mirror.ts';
import { StoreProcess, workerPath } from './process.ts';

const firstQuestions = {
  place: (store: TicketStore, _: Client, waiting: Ticket) => store.place(waiting),
  tryEnqueue: (_: TicketStore, client: Client) => client.tryEnqueue('b'),
  enqueue: (_: TicketStore, client: Client) => client.enqueue('b'),
  tickets: async (store: TicketStore, { session }: Client) => {
    const areMine = (await store.tickets()).every((ticket) => ticket.session === session);
    return { state: areMine ? 'granted' : 'still there' };
  },
};

/** The promises of a single-host store towards real processes that are killed, stopped, or race. */
export function storeProcessContract(kind: LocalStore, makePlace: () => Promise<LocalPlace>): void {
  test.each(Object.entries(firstQuestions))(
    'frees the locks of a killed process at once when %s is called first',
    async (_, ask) => {
      await using directory = await makePlace();
      await using holder = await StoreProcess.start(kind, directory.path);
      await using store = await localStores[kind](directory.path);
      const client = await clientOf(store, 'n1');
      await holder.run({ name: 'hold', lock: 'a', resumable: false });
      await holder.run({ name: 'hold', lock: 'b', resumable: false });
      const waiting = await client.queue('a');
      expect(await client.tryEnqueue('b')).toMatchObject({ state: 'refused' });
      await holder.kill();
      expect(await ask(store, client, waiting)).toMatchObject({ state: 'granted' });
      expect(await store.place(waiting)).toEqual({ state: 'granted', ticket: waiting });
    },
  );

  test('reports the death of a killed process to watchers within a second', async () => {
    await using directory = await makePlace();
    await using store = await localStores[kind](directory.path);
    const mirror = new StoreMirror();
    using _ = store.watch(mirror);
    await using holder = await StoreProcess.start(kind, directory.path);
    await holder.run({ name: 'hold', lock: 'a', resumable: false });
    await eventually(() => expect(mirror.tickets).toHaveLength(1), 1000);
    await holder.kill();
    await eventually(() => expect(mirror.tickets).toHaveLength(0), 1000);
    expect(mirror.faults).toEqual([]);
  });

  test('frees the locks of a killed process that its parent has not reaped', async () => {
    await using directory = await makePlace();
    await using store = await localStores[kind](directory.path);
    const client = await clientOf(store, 'n1');
    // `sleep` replaces the shell and never reaps its child.
    const script = '"$0" "$1" "$2" "$3" hold & exec sleep 60';
    const parent = spawn('sh', ['-c', script, process.execPath, workerPath, kind, directory.path]);
    const ended = once(parent, 'exit');
    try {
      await eventually(async () => expect(await store.tickets('db')).toHaveLength(1));
      expect(await client.tryEnqueue('db')).toMatchObject({ state: 'refused' });
      const [ticket] = await store.tickets('db');
      process.kill(Number(ticket?.holder.detail), 'SIGKILL');
      await eventually(async () => {
        expect(await client.tryEnqueue('db')).toMatchObject({ state: 'granted' });
      }, 1000);
    } finally {
      parent.kill();
      await ended;
    }
  });

  test('S18 S60 lets one of two processes win, 200 times', async () => {
    await using directory = await makePlace();
    const { path } = directory;
    const start = () => StoreProcess.start(kind, path);
    // They also race to create the file.
    const [one, two] = await Promise.all([start(), start()]);
    await using stack = new AsyncDisposableStack();
    stack.use(one);
    stack.use(two);
    const wins = [0, 0];
    for (let round = 0; round < 200; round += 1) {
      const lock = `lock ${round}`;
      const racers = round % 2 === 0 ? [one, two] : [two, one];
      const states = await Promise.all(racers.map((racer) => racer.run({ name: 'try', lock })));
      expect(states.toSorted()).toEqual(['granted', 'refused']);
      const winner = racers[states.indexOf('granted')] === one ? 0 : 1;
      wins[winner] = (wins[winner] ?? 0) + 1;
    }
    // Without a win for each of them this was no race.
    expect(Math.min(...wins)).toBeGreaterThan(0);
    expect(one.errorOutput + two.errorOutput).toBe('');
  });

  test('lets three processes count under a lock without losing a count', async () => {
    await using directory = await makePlace();
    const start = () => StoreProcess.start(kind, directory.path);
    const workers = await Promise.all([start(), start(), start()]);
    await using stack = new AsyncDisposableStack();
    for (const worker of workers) stack.use(worker);
    await Promise.all(workers.map((worker) => worker.run({ name: 'count', times: 50 })));
    await using store = await localStores[kind](directory.path);
    expect(await store.record('count')).toMatchObject({ value: '150' });
    expect(await store.tickets()).toEqual([]);
  });

  test('lets three processes count in an unprotected file under a lock without losing a count', async () => {
    await using directory = await makePlace();
    const file = join(directory.root, 'count');
    await writeFile(file, '0');
    const start = () => StoreProcess.start(kind, directory.path);
    const workers = await Promise.all([start(), start(), start()]);
    await using stack = new AsyncDisposableStack();
    for (const worker of workers) stack.use(worker);
    await Promise.all(
      workers.map((worker) => worker.run({ name: 'count in file', times: 30, file })),
    );
    expect(await readFile(file, 'utf8')).toBe('90');
  });

  test('leaves a consistent state when a process is killed at any moment of a step', async () => {
    await using directory = await makePlace();
    await using store = await localStores[kind](directory.path);
    const client = await clientOf(store, 'n1');
    let last = 0;
    for (let round = 0; round < 12; round += 1) {
      await using worker = await StoreProcess.start(kind, directory.path);
      const killed = worker.run({ name: 'churn' }).catch(() => 'killed');
      await eventually(async () => {
        expect((await store.record('one'))?.revision ?? 0).toBeGreaterThan(last);
      });
      await pause(Math.random() * 30);
      await worker.kill();
      expect(await killed).toBe('killed');
      const [one, two] = [await store.record('one'), await store.record('two')];
      expect(two).toEqual({ ...one, key: 'two' });
      const held = await client.hold('churn', `round ${round}`);
      expect(held.token).toBeGreaterThan(one?.revision ?? 0);
      await store.remove(held);
      last = one?.revision ?? 0;
    }
    expect(await store.tickets()).toEqual([]);
  });

  test('keeps the locks of a stopped process, and no others', async () => {
    await using directory = await makePlace();
    await using store = await localStores[kind](directory.path);
    const client = await clientOf(store, 'n1');
    await using holder = await StoreProcess.start(kind, directory.path);
    await holder.run({ name: 'hold', lock: 'db', resumable: false });
    holder.signal('SIGSTOP');
    await pause(1000);
    expect(await client.tryEnqueue('db')).toMatchObject({ state: 'refused' });
    expect(await client.tryEnqueue('other')).toMatchObject({ state: 'granted' });
    holder.signal('SIGCONT');
    expect(await holder.run({ name: 'try', lock: 'db' })).toBe('refused');
    expect(await holder.run({ name: 'try', lock: 'third' })).toBe('granted');
    await holder.kill();
    expect(await client.tryEnqueue('db')).toMatchObject({ state: 'granted' });
  });

  test('lets a process that uses it end by itself, and prints nothing', async () => {
    await using directory = await makePlace();
    const args = [workerPath, kind, directory.path, 'watch'];
    const output = await promisify(execFile)(process.execPath, args, { timeout: 10_000 });
    expect(output).toEqual({ stdout: '', stderr: '' });
  });
}
