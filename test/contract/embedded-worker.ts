import { randomUUID } from 'node:crypto';
import process, { argv } from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';
import { embeddedStore } from '../../lib/lock/stores/embedded.ts';
import type { TicketStore } from '../../lib/lock/stores/ticket-store.ts';
import type { TicketRequest } from '../../lib/lock/ticket.ts';
import { enabled } from './store-bench.ts';

/**
 * Another process on the lock file argv[2], for the tests. argv[3] says what it does: `serve` what
 * its parent asks, `hold` the lock `db` until it is killed, or `watch` and come to its end.
 */
export interface Call {
  readonly id: number;
  readonly task: Task;
}
export type Task =
  | { readonly name: 'hold'; readonly lock: string; readonly resumable: boolean }
  | { readonly name: 'try'; readonly lock: string }
  | { readonly name: 'count'; readonly times: number };

const [, , path = '', mode] = argv;
const store = await embeddedStore({ path });
const open = (resumable: boolean) => store.openSession({ ttlMs: 1000, owner: 'worker', resumable });
const { id: session } = await open(false);

if (mode === 'hold') {
  await store.enqueue(requestFor('db', session));
  await pause(60_000);
} else if (mode === 'watch') {
  store.watch({ reset: () => {}, change: () => {}, interrupted: () => {} });
} else {
  process.on('message', (call: Call) => {
    run(call.task).then(
      (answer) => process.send?.({ id: call.id, answer }),
      (error) => process.send?.({ id: call.id, error: String(error) }),
    );
  });
  // The parent has gone, however it did.
  process.on('disconnect', () => process.exit());
  process.send?.('ready');
}

async function run(task: Task): Promise<unknown> {
  if (task.name === 'try') return (await store.tryEnqueue(requestFor(task.lock, session))).state;
  if (task.name === 'count') return countUp(store, task.times);
  const { id } = await open(task.resumable);
  return store.enqueue(requestFor(task.lock, id));
}

/** Reads a number and writes the next one, under a lock; any overlap would lose a count. */
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

function requestFor(lock: string, inSession: string): TicketRequest {
  return {
    session: inSession,
    nonce: randomUUID(),
    locks: [{ name: lock, mode: 'exclusive' }],
    holder: { host: 'worker', reason: 'Mount', since: '2026-01-02T03:04:05Z' },
  };
}
