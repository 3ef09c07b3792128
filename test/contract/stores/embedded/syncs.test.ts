// The syncs of the embedded store: how many there are, who waits for them, and what a failed one costs. A
// real SQLite file and real syncs, which the test counts, holds up, or lets fail.
import { stat } from 'node:fs/promises';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { GuardLostError, StoreUnavailableError } from '../../../../lib/lock/errors.ts';
import { walFile } from '../../../../lib/lock/stores/embedded/commit-sync.ts';
import { embeddedStore } from '../../../../lib/lock/stores/embedded/store.ts';
import type { TicketStore } from '../../../../lib/lock/stores/ticket-store.ts';
import { systemClock } from '../../../../lib/running/clock.ts';
import { embeddedDirectory } from '../../bench/embedded-directory.ts';
import type { Client } from '../../bench/store-bench.ts';
import { clientOf, enabled } from '../../bench/store-bench.ts';

let directory: Awaited<ReturnType<typeof embeddedDirectory>>;
let store: TicketStore;
let client: Client;
let syncs: number;
let gate: PromiseWithResolvers<void>;
let failure: Error | undefined;

beforeEach(async () => {
  gate = Promise.withResolvers();
  gate.resolve();
  failure = undefined;
  directory = await embeddedDirectory();
  const openWal = (path: string) => {
    const file = walFile(path);
    return {
      sync: async () => {
        syncs += 1;
        await gate.promise;
        if (failure) throw failure;
        await file.sync();
      },
      [Symbol.dispose]: () => file[Symbol.dispose](),
    };
  };
  store = await embeddedStore({ ...directory, openWal });
  client = await clientOf(store, 'n1');
  syncs = 0;
});

afterEach(async () => {
  gate.resolve(); // A failed test must not hang.
  await store[Symbol.asyncDispose]();
  await directory[Symbol.asyncDispose]();
});

/** Writes a record, which outlives a power cut. */
const write = (key: string) => {
  return store.commit({ guards: [], writes: [{ key, value: '1' }], release: [] });
};

test('a step that writes a record or a gate waits for one sync, and one that changes tickets or nothing for none', async () => {
  const held = await client.hold('db');
  await store.place(held);
  await store.tickets();
  await store.record('key');
  await store.tryEnqueue(client.request('db'));
  const unknown = { ...held, token: held.token + 1 };
  const refused = store.commit({ guards: [unknown], writes: [], release: [] });
  await expect(refused).rejects.toThrow(GuardLostError);
  await store.remove(await client.hold('short'));
  expect(syncs).toBe(0);
  await store.commit({ guards: [held], writes: [{ key: 'key', value: '1' }], release: [held] });
  expect(syncs).toBe(1);
  await store.health(); // It proves that the file can be written.
  expect(syncs).toBe(2);
  await store.closeGate({ lockName: 'other', host: 'n1', since: '2026-01-02T03:04:05.000Z' });
  expect(syncs).toBe(3);
  await store.closeGate({ lockName: 'db', host: 'n1', since: '2026-01-02T03:04:05.000Z' });
  await store.openGate('db');
  expect(syncs).toBe(5);
});

test('a request that writes records with its ticket answers while they are brought to disk, and who comes later waits for that', async () => {
  gate = Promise.withResolvers();
  const { ticket } = enabled(await store.enqueue({ ...client.request('db'), mark: 'mark' }));
  expect(syncs).toBe(1);
  const answered: string[] = [];
  const noting = (name: string, step: Promise<unknown>) => step.then(() => answered.push(name));
  // Each of them may tell of the mark.
  const later = [
    noting('record', store.record('mark')),
    noting('queue', store.enqueue({ ...client.request('db'), read: 'mark' })),
    noting('remove', store.remove(ticket)),
  ];
  await systemClock().sleep(50);
  expect({ answered, syncs }).toEqual({ answered: [], syncs: 1 });
  gate.resolve();
  await Promise.all(later);
  expect(syncs).toBe(1);
});

test('a request whose records can not be brought to disk has its ticket, and the next step says so', async () => {
  failure = Object.assign(new Error('i/o error'), { code: 'EIO' });
  await store.enqueue({ ...client.request('db'), mark: 'mark' });
  await expect(write('next')).rejects.toThrow(/the lock file .* can't be used/);
  failure = undefined;
  await write('after');
  expect(await store.record('mark')).toBeDefined();
});

test('no step answers before its sync, steps that come together share one, and a refused one fails alone', async () => {
  const held = await client.hold('db');
  gate = Promise.withResolvers();
  const answered: string[] = [];
  const noting = async <T>(name: string, step: Promise<T>) => {
    await step;
    answered.push(name);
  };
  const names = Array.from({ length: 16 }, (_, index) => `record ${index}`);
  const steps = names.map((name) => noting(name, write(name)));
  const unknown = { ...held, token: held.token + 1 };
  const refused = store.commit({ guards: [unknown], writes: [], release: [] });
  await expect(refused).rejects.toThrow(GuardLostError);
  const late = noting('late', write('late'));
  const reading = noting('read', store.records('record'));
  const queueing = noting('queue', client.enqueue('late'));
  await systemClock().sleep(50);
  expect({ answered, syncs }).toEqual({ answered: [], syncs: 1 });
  gate.resolve();
  await Promise.all([...steps, late, reading, queueing]);
  expect(answered.slice(0, 16).sort()).toEqual(names.sort());
  expect(syncs).toBe(2);
});

test('after a failed sync nothing is answered until the log has been copied into the database', async () => {
  await write('before');
  failure = Object.assign(new Error('i/o error'), { code: 'EIO' });
  const request = client.request('db');
  await store.enqueue(request);
  const lost = write('lost');
  await expect(lost).rejects.toThrow(StoreUnavailableError);
  await expect(lost).rejects.toThrow(/the lock file .* can't be used: the disk reported an error/);
  const log = `${directory.path}-wal`;
  expect((await stat(log)).size).toBeGreaterThan(0);
  // The disk says no more, but what it has of the log is not known.
  failure = undefined;
  expect(await store.tickets('db')).toMatchObject([{ nonce: request.nonce }]);
  expect((await stat(log)).size).toBe(0);
  syncs = 0;
  const { ticket } = enabled(await store.enqueue(request));
  expect(ticket.nonce).toBe(request.nonce);
  expect(syncs).toBe(0);
  await write('after');
  expect(syncs).toBe(1);
});

test('closing the store waits for the sync of what was written', async () => {
  gate = Promise.withResolvers();
  const step = write('key');
  await systemClock().sleep(20);
  const closing = store[Symbol.asyncDispose]();
  gate.resolve();
  await closing;
  expect(await step).toHaveProperty('revision');
});
