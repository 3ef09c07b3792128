import { randomUUID } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import process, { argv } from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';
import type { TicketStore } from '../../../lib/lock/stores/ticket-store.ts';
import type { TicketRequest } from '../../../lib/lock/ticket.ts';
import { localStores } from '../bench/local-stores.ts';
import { enabled } from '../bench/store-bench.ts';

/**
 * The process that the tests run against a store: the store of kind argv[2] at argv[3]. argv[4]
 * selects what it does: `serve` runs what its parent asks for, `hold` holds the lock `db` until it
 * is killed, `watch` starts a watch and ends. The tickets carry its PID as their detail.
 */
export interface Call {
  readonly id: number;
  readonly task: Task;
}
export type Task =
  | {
      readonly name: 'hold';
      readonly lock: string;
      readonly resumable: boolean;
      readonly resume?: string;
    }
  | { readonly name: 'try'; readonly lock: string }
  | { readonly name: 'count'; readonly times: number }
  | { readonly name: 'count in file'; readonly times: number; readonly file: string }
  | { readonly name: 'churn' };

const [, , kind, path = '', mode] = argv;
const store = await localStores[kind === 'file' ? 'file' : 'embedded'](path);
const open = (resumable: boolean, resume?: string) =>
  store.openSession({ ttlMs: 1000, owner: 'worker', resumable, ...(resume && { resume }) });
const { id: session } = await open(false);

if (mode === 'hold') {
  await store.enqueue(requestFor('db', session));
  await pause(60_000);
} else if (mode === 'watch') {
  store.watch({ reset: () => {}, change: () => {}, interrupted: () => {}, resumed: () => {} });
} else {
  process.on('message', (call: Call) => {
    run(call.task).then(
      (answer) => process.send?.({ id: call.id, answer }),
      (error) => process.send?.({ id: call.id, error: String(error) }),
    );
  });
  // The parent has ended, in whatever way.
  process.on('disconnect', () => process.exit());
  process.send?.('ready');
}

async function run(task: Task): Promise<unknown> {
  if (task.name === 'try') return (await store.tryEnqueue(requestFor(task.lock, session))).state;
  if (task.name === 'count') return countUp(store, task.times);
  if (task.name === 'count in file') return countInFile(store, task.times, task.file);
  if (task.name === 'churn') return churn(store);
  const { id } = await open(task.resumable, task.resume);
  return store.enqueue(requestFor(task.lock, id));
}

/** Reads a number and writes the next one, under a lock; an overlap would lose a count. */
async function countUp(on: TicketStore, times: number): Promise<void> {
  for (let index = 0; index < times; index += 1) {
    const { ticket } = enabled(await on.enqueue(requestFor('count', session)));
    while ((await on.place(ticket)).state !== 'granted') await pause(1);
    const count = Number((await on.record('count'))?.value ?? 0);
    await pause(Math.random() * 2);
    const writes = [{ key: 'count', value: String(count + 1) }];
    await on.commit({ guards: [], writes, release: [ticket] });
  }
}

/** Counts as `countUp` does, in a file that only the lock protects. */
async function countInFile(on: TicketStore, times: number, file: string): Promise<void> {
  for (let index = 0; index < times; index += 1) {
    const { ticket } = enabled(await on.enqueue(requestFor('count', session)));
    while ((await on.place(ticket)).state !== 'granted') await pause(1);
    const count = Number(await readFile(file, 'utf8'));
    await pause(Math.random() * 2);
    await writeFile(file, String(count + 1));
    await on.remove(ticket);
  }
}

/** Writes two records with the same value, again and again, until the process is killed. */
async function churn(on: TicketStore): Promise<void> {
  for (;;) {
    const { ticket } = enabled(await on.enqueue(requestFor('churn', session)));
    const value = `by ${ticket.token}`;
    const writes = [
      { key: 'one', value },
      { key: 'two', value },
    ];
    await on.commit({ guards: [], writes, release: [ticket] });
  }
}

function requestFor(lock: string, inSession: string): TicketRequest {
  return {
    session: inSession,
    nonce: randomUUID(),
    locks: [{ name: lock, mode: 'exclusive' }],
    kind: 'mount',
    owner: 'n1',
    holder: {
      host: 'worker',
      reason: 'Mount',
      since: '2026-01-02T03:04:05Z',
      detail: String(process.pid),
    },
  };
}
