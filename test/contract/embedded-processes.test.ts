import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { DatabaseSync } from 'node:sqlite';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';
import { embeddedStore } from '../../lib/lock/stores/embedded.ts';
import type { TicketStore } from '../../lib/lock/stores/ticket-store.ts';
import type { Ticket } from '../../lib/lock/ticket.ts';
import { embeddedDirectory } from './embedded-directory.ts';
import { EmbeddedProcess, workerPath } from './embedded-process.ts';
import type { Client } from './store-bench.ts';
import { clientOf, eventually } from './store-bench.ts';
import { StoreMirror } from './store-mirror.ts';

const firstQuestions = {
  place: (store: TicketStore, _: Client, waiting: Ticket) => store.place(waiting),
  tryEnqueue: (_: TicketStore, client: Client) => client.tryEnqueue('b'),
  enqueue: (_: TicketStore, client: Client) => client.enqueue('b'),
  tickets: async (store: TicketStore, { session }: Client) => {
    const areMine = (await store.tickets()).every((ticket) => ticket.session === session);
    return { state: areMine ? 'granted' : 'still there' };
  },
};

test.each(Object.entries(firstQuestions))(
  'frees the locks of a killed process at once, if %s is asked',
  async (_, ask) => {
    await using directory = await embeddedDirectory();
    await using holder = await EmbeddedProcess.start(directory.path);
    await using store = await embeddedStore(directory);
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

test('tells watchers within a second that a process has been killed', async () => {
  await using directory = await embeddedDirectory();
  await using store = await embeddedStore(directory);
  const mirror = new StoreMirror();
  using _ = store.watch(mirror);
  await using holder = await EmbeddedProcess.start(directory.path);
  await holder.run({ name: 'hold', lock: 'a', resumable: false });
  await eventually(() => expect(mirror.tickets).toHaveLength(1), 1000);
  await holder.kill();
  await eventually(() => expect(mirror.tickets).toHaveLength(0), 1000);
  expect(mirror.faults).toEqual([]);
});

test('keeps the locks of a killed process whose session is resumable, for its heir', async () => {
  await using directory = await embeddedDirectory();
  await using daemon = await EmbeddedProcess.start(directory.path);
  await daemon.run({ name: 'hold', lock: 'db', resumable: true });
  await using store = await embeddedStore(directory);
  const [ticket] = await store.tickets('db');
  const resume = { ttlMs: 1, owner: 'daemon', resumable: true, resume: ticket?.session ?? '' };
  expect(await store.sessionAlive(resume.resume)).toBe(true);
  await expect(store.openSession(resume)).rejects.toThrow(`process ${daemon.pid}`);

  await daemon.kill();
  expect(await store.sessionAlive(resume.resume)).toBe(false);
  const other = await clientOf(store, 'n1');
  expect(await other.tryEnqueue('db')).toEqual({ state: 'refused', blockers: [ticket] });
  expect(await store.openSession(resume)).toMatchObject({ id: resume.resume, resumed: true });
  expect(await store.sessionAlive(resume.resume)).toBe(true);
  expect(await store.tickets('db')).toEqual([ticket]);
  await store.closeSession(resume.resume);
  expect(await other.tryEnqueue('db')).toMatchObject({ state: 'granted' });
});

test("gives a killed daemon's session to the next of its owner that has lost the id", async () => {
  await using directory = await embeddedDirectory();
  await using daemon = await EmbeddedProcess.start(directory.path);
  await daemon.run({ name: 'hold', lock: 'db', resumable: true });
  await using store = await embeddedStore(directory);
  const [ticket] = await store.tickets('db');
  const heir = { ttlMs: 1, owner: 'worker', resumable: true };
  expect(await store.openSession(heir)).toMatchObject({ resumed: false });

  await daemon.kill();
  expect(await store.openSession({ ...heir, owner: 'another' })).toMatchObject({ resumed: false });
  expect(await store.openSession({ ...heir, resumable: false })).toMatchObject({ resumed: false });
  expect(await store.openSession(heir)).toMatchObject({ id: ticket?.session, resumed: true });
  expect(await store.tickets('db')).toEqual([ticket]);
});

test('frees the locks of a killed process that its parent has not collected', async () => {
  await using directory = await embeddedDirectory();
  await using store = await embeddedStore(directory);
  const client = await clientOf(store, 'n1');
  // sleep takes the place of the shell and never asks for its child.
  const script = '"$0" "$1" "$2" hold & exec sleep 60';
  const parent = spawn('sh', ['-c', script, process.execPath, workerPath, directory.path]);
  const ended = once(parent, 'exit');
  try {
    await eventually(async () => expect(await store.tickets('db')).toHaveLength(1));
    expect(await client.tryEnqueue('db')).toMatchObject({ state: 'refused' });
    using db = new DatabaseSync(directory.path);
    const row = db.prepare('SELECT pid FROM sessions WHERE id <> ?').get(client.session);
    process.kill(Number(row?.pid), 'SIGKILL');
    await eventually(async () => {
      expect(await client.tryEnqueue('db')).toMatchObject({ state: 'granted' });
    }, 1000);
  } finally {
    parent.kill();
    await ended;
  }
});

test('S18 S60 lets one of two processes win, 200 times', async () => {
  await using directory = await embeddedDirectory();
  const { path } = directory;
  const start = () => EmbeddedProcess.start(path);
  // They also race to make the file.
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
  // Both must have had a chance, or this was no race.
  expect(Math.min(...wins)).toBeGreaterThan(0);
  expect(one.errorOutput + two.errorOutput).toBe('');
}, 30_000);

test('loses no count that three processes keep under a lock', async () => {
  await using directory = await embeddedDirectory();
  const start = () => EmbeddedProcess.start(directory.path);
  const workers = await Promise.all([start(), start(), start()]);
  await using stack = new AsyncDisposableStack();
  for (const worker of workers) stack.use(worker);
  await Promise.all(workers.map((worker) => worker.run({ name: 'count', times: 50 })));
  await using store = await embeddedStore(directory);
  expect(await store.record('count')).toMatchObject({ value: '150' });
  expect(await store.tickets()).toEqual([]);
}, 30_000);

test('does not keep a process running, and prints nothing', async () => {
  await using directory = await embeddedDirectory();
  const args = [workerPath, directory.path, 'watch'];
  const output = await promisify(execFile)(process.execPath, args, { timeout: 10_000 });
  expect(output).toEqual({ stdout: '', stderr: '' });
});
