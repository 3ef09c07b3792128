// The steps that a durable operation can't do without, each alone and as bare as it can be:
//
//   transaction   one store transaction of the kind that the operation writes, by a client of the store
//   append        a row of the mount table added to a file beside the daemon's, and synced (fdatasync)
//   mount         mount(2), umount2(2): the system calls alone, by a process that does nothing else
//   make, remove  the directories of a volume, made aside and renamed, or renamed and deleted; the directories
//                 that a power cut must not empty are synced (fsync)
//   sentinel      a sentinel receives one mount, over a connection that stays open, and answers

import { once } from 'node:events';
import { mkdir, open, rename, rmdir } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { text } from 'node:stream/consumers';
import { EtcdClient } from '../lib/etcd/client.ts';
import { bootId, bootNowMs } from '../lib/linux/boot.ts';
import { protocolVersion } from '../sentinel/watch.ts';
import { startProcess, waitFor } from '../test/support/processes.ts';
import { startHelper } from './mount-helper.ts';
import { timed } from './statistics.ts';

/** The milliseconds of one pass. */
export interface FloorTimes {
  readonly takeMs: number;
  readonly releaseMs: number;
  readonly appendMs: number;
  readonly mountMs: number;
  readonly unmountMs: number;
  readonly tellMs: number;
  readonly makeMs: number;
  readonly removeMs: number;
}

export interface Floor extends AsyncDisposable {
  /** Takes each step once. */
  pass(): Promise<FloorTimes>;
}

/** A bare client of a store: writes what a Mount writes, and removes it. */
interface Transactions extends AsyncDisposable {
  take(): Promise<unknown>;
  release(): Promise<unknown>;
}

/** `directory` is on the disk of the daemon's state. */
export async function openFloor(store: string, directory: string): Promise<Floor> {
  await using stack = new AsyncDisposableStack();
  const transactions = stack.use(
    store.startsWith('etcd:')
      ? await etcdTransactions(new URL(store.replace('etcd:', 'http:')).host)
      : sqliteTransactions(join(directory, 'floor.db')),
  );
  const file = stack.use(await open(join(directory, 'floor.journal'), 'a'));
  const helper = stack.use(await startHelper(directory));
  const sentinel = stack.use(await startSentinel(directory));
  const line = `{"put":${JSON.stringify({ row: 'x'.repeat(620) })}}\n`;
  const append = async () => {
    await file.appendFile(line);
    await file.datasync();
  };
  const storage = await directories(join(directory, 'floor-volumes'));
  const running = stack.move();
  return {
    pass: async () => ({
      takeMs: await timed(transactions.take),
      appendMs: await timed(append),
      tellMs: await timed(sentinel.tell),
      mountMs: await helper.mountMs(),
      unmountMs: await helper.unmountMs(),
      releaseMs: await timed(transactions.release),
      makeMs: await timed(storage.make),
      removeMs: await timed(storage.remove),
    }),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

async function etcdTransactions(endpoint: string): Promise<Transactions> {
  const client = new EtcdClient({ endpoints: [endpoint] });
  const { id: lease } = await client.leaseGrant(600);
  const key = Buffer.from(`/floor/locks/mount%2Fdb/x/${lease}-0`);
  const value = Buffer.alloc(280, 'x'); // As long as a ticket's.
  const record = { key: Buffer.from('/floor/records/volumes/db') };
  await client.txn({
    compare: [],
    success: [{ request_put: { key: record.key, value: Buffer.alloc(250, 'x') } }],
    failure: [],
  });
  const mark = { key: Buffer.from('/floor/records/tenures/db'), value: Buffer.alloc(22, 'x') }; // tidy-ok: stored name
  let revision: string | number = 0;
  return {
    take: async () => {
      const { header } = await client.txn({
        compare: [{ target: 'Create', result: 'Equal', key, create_revision: 0 }],
        success: [
          { request_range: record },
          { request_put: { key, value, lease } },
          { request_put: mark },
        ],
        failure: [],
      });
      revision = header.revision;
    },
    release: () =>
      client.txn({
        compare: [{ target: 'Create', result: 'Equal', key, create_revision: revision }],
        success: [{ request_delete_range: { key } }],
        failure: [],
      }),
    [Symbol.asyncDispose]: () => client.close(),
  };
}

function sqliteTransactions(path: string): Transactions {
  const db = new DatabaseSync(path);
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL');
  db.exec('CREATE TABLE tickets (token INTEGER PRIMARY KEY, ticket TEXT NOT NULL) STRICT');
  const insert = db.prepare('INSERT INTO tickets (ticket) VALUES (?)');
  const remove = db.prepare('DELETE FROM tickets');
  const ticket = 'x'.repeat(280);
  const step = async (work: () => void) => {
    db.exec('BEGIN IMMEDIATE');
    work();
    db.exec('COMMIT');
  };
  return {
    take: () => step(() => insert.run(ticket)),
    release: () => step(() => remove.run()),
    [Symbol.asyncDispose]: async () => db.close(),
  };
}

/** Makes and removes what the driver `directory` has for a volume. */
async function directories(base: string) {
  const [made, home, trash] = ['made', 'volume', 'trash'].map((name) => join(base, name)) as [
    string,
    string,
    string,
  ];
  await mkdir(base);
  const sync = async (path: string) => {
    await using directory = await open(path, 'r');
    await directory.sync();
  };
  return {
    make: async () => {
      for (const path of [made, join(made, 'snapshots'), join(made, 'data')]) await mkdir(path);
      await sync(made);
      await rename(made, home);
      await sync(base);
    },
    remove: async () => {
      await rename(home, trash);
      await sync(base);
      for (const path of [join(trash, 'snapshots'), join(trash, 'data'), trash]) await rmdir(path);
    },
  };
}

async function startSentinel(directory: string) {
  await using stack = new AsyncDisposableStack();
  const socketPath = join(directory, 'floor.sentinel');
  const main = join(import.meta.dirname, '../sentinel/main.ts');
  const args = ['--optimize-for-size', main, '--socket', socketPath];
  const engine = ['--docker-socket', join(directory, 'no-engine.sock')];
  stack.use(startProcess(process.execPath, [...args, ...engine]));
  const agent = new Agent({ keepAlive: true });
  stack.defer(() => agent.destroy());
  const call = async (method: string, path: string, body = '') => {
    const sent = request({ socketPath, method, path, agent });
    sent.end(body);
    const [response] = await once(sent, 'response');
    const answer = await text(response);
    if (response.statusCode !== 200) throw new Error(answer);
  };
  const isServed = () =>
    call('GET', '/report').then(
      () => true,
      () => false,
    );
  await waitFor(isServed, 15_000, 'the sentinel to serve');
  const watched = {
    ...{ volume: 'db', tenure: 'x', mountpoint: directory, ownsFileSystem: false }, // tidy-ok: protocol name
    ...{ onLost: 'pause', state: 'held' },
  };
  const watch = { protocol: protocolVersion, bootId: bootId(), leadMs: 1, graceMs: 1, noted: 0 };
  const running = stack.move();
  return {
    tell: () => {
      const volumes = [{ ...watched, deadlineMs: bootNowMs() + 60_000 }];
      return call('PUT', '/watch', JSON.stringify({ ...watch, volumes }));
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
