// Pools and jobs used by several real processes, on the embedded store and on a real etcd; real
// time.
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { EtcdClient } from '../../../lib/etcd/client.ts';
import { LockManager } from '../../../lib/lock/lock-manager.ts';
import { JobHeldError } from '../../../lib/lock/recipes/jobs/job-errors.ts';
import { JobLock } from '../../../lib/lock/recipes/jobs/job-lock.ts';
import { LockPool } from '../../../lib/lock/recipes/pool/lock-pool.ts';
import { embeddedStore } from '../../../lib/lock/stores/embedded/store.ts';
import { EtcdStore } from '../../../lib/lock/stores/etcd/store.ts';
import type { TicketStore } from '../../../lib/lock/stores/ticket-store.ts';
import type { Ticket } from '../../../lib/lock/ticket.ts';
import type { Etcd } from '../../support/etcd-server.ts';
import { startEtcd } from '../../support/etcd-server.ts';
import { describeWith } from '../../support/requirements.ts';
import { embeddedDirectory } from '../bench/embedded-directory.ts';
import { manager, take } from '../bench/manager-bench.ts';
import { eventually, longTtlMs } from '../bench/store-bench.ts';
import type { Work } from './work.ts';
import { jobOptions, poolOptions, run } from './work.ts';

describe('processes on the embedded store', () => {
  let directory: Awaited<ReturnType<typeof embeddedDirectory>>;
  beforeAll(async () => {
    directory = await embeddedDirectory();
  });
  afterAll(() => directory[Symbol.asyncDispose]());
  suite((name) => {
    const where = { path: join(directory.root, name) };
    return { where, connect: () => embeddedStore(where) };
  });
});

describeWith(['etcd'], 'processes on the etcd store', () => {
  let etcd: Etcd;
  beforeAll(async () => {
    etcd = await startEtcd();
  });
  afterAll(() => etcd.stop());
  suite((name) => {
    const endpoints = etcd.endpoints.map((url) => new URL(url).host);
    const where = { endpoints, prefix: `/${name}` };
    return {
      where,
      connect: async () => new EtcdStore(new EtcdClient({ endpoints }), where.prefix),
    };
  });
});

describeWith(
  ['etcd'],
  'a process that was frozen while a later one has resumed its session',
  () => {
    test('lock-library F2: it learns that its lock is lost, and removes nothing of its heir', async () => {
      await using etcd = await startEtcd();
      const endpoints = etcd.endpoints.map((url) => new URL(url).host);
      const where = { endpoints, prefix: '/heirs' };
      const connect = () => new EtcdStore(new EtcdClient({ endpoints }), where.prefix);
      const ttlMs = 5_000;
      await using frozen = new Worker({ store: where, ttlMs, task: 'keep', count: 0 });
      const [kept] = await frozen.next<[Ticket]>();
      frozen.signal('SIGSTOP');
      await using store = connect();
      const options = { host: 'n4', owner: 'n4', ttlMs };
      const keep = { resume: kept.session, save: async () => {} };
      await using heir = new LockManager({ store, ...options, keep });
      expect(await heir.open()).toEqual({ sessionId: kept.session, resumed: true });
      const attached = await heir.attach(kept);
      await heir.dropStrays();
      await using _own = await take(heir, 'own');
      // The frozen process wakes up after its deadline.
      const deadline = performance.now() + ttlMs;
      await eventually(() => expect(performance.now()).toBeGreaterThan(deadline), 30_000);
      const standing = await store.tickets();
      expect(standing).toHaveLength(2);
      frozen.signal('SIGCONT');
      expect(await frozen.next()).toEqual(['lost']);
      expect(await frozen.next()).toEqual(['ended']);
      expect(await store.tickets()).toEqual(standing);
      await attached?.confirm();
      await attached?.unlock();
      await using other = manager(store, 'n5');
      await using _next = await take(other, 'kept', { timeoutMs: 0 });
    });
  },
);

interface Shared {
  readonly where: Work['store'];
  connect(): Promise<TicketStore>;
}

function suite(share: (name: string) => Shared): void {
  test('S37 S38 allocate numbers concurrently, and no number twice', async () => {
    const { where, connect } = share('allocate');
    await using store = await connect();
    await using locks = manager(store, 'n1');
    const starting = await take(locks, 'pool/containers');
    const work: Work = { store: where, ttlMs: longTtlMs, task: 'allocate', count: 15 };
    const answers = [1, 2, 3].map(async () => {
      await using worker = new Worker(work);
      return (await worker.answer).map(Number);
    });
    const areReady = async () => expect(await store.tickets('pool/containers')).toHaveLength(4);
    await eventually(areReady, 30_000);
    await starting.unlock();
    const ids = await Promise.all(answers);
    expect(ids.flat().toSorted((a, b) => a - b)).toEqual(Array.from({ length: 45 }, (_, id) => id));
    for (const own of ids) expect(Math.max(...own)).toBeGreaterThan(Math.min(...own) + 14);
    expect(await new LockPool(locks, poolOptions).available()).toBe(55);
  });

  test('S44 leave a numbered lock to the next process when they are killed', async () => {
    const { where, connect } = share('hold');
    await using worker = new Worker({ store: where, ttlMs: 6_000, task: 'hold', count: 0 });
    const ticket = await worker.answer;
    await using store = await connect();
    await using locks = manager(store, 'n1');
    const pool = new LockPool(locks, poolOptions);
    expect(await pool.held()).toEqual([{ id: 0, ticket }]);
    expect(await pool.retrieve(0).tryLock({ reason: 'Start' })).toBeUndefined();
    await worker.kill();
    await using lock = await pool.retrieve(0).lock({ reason: 'Start', timeoutMs: 30_000 });
    await lock.confirm();
  });

  test('S24 take over the job that they held when they were killed, and nobody else does', async () => {
    const { where, connect } = share('job');
    await using worker = new Worker({ store: where, ttlMs: longTtlMs, task: 'job', count: 0 });
    const ticket = await worker.answer;
    await using store = await connect();
    await using locks = manager(store, 'n1');
    const other = new JobLock(locks, { ...jobOptions, componentId: 'i2' });
    await expect(other.lock(run)).rejects.toThrow(JobHeldError);
    expect((await other.status(run.job)).run).toMatchObject({ ticket, by: { componentId: 'i1' } });
    await worker.kill();
    await using lock = await new JobLock(locks, jobOptions).lock(run);
    await lock.confirm();
    await expect(other.lock(run)).rejects.toThrow(JobHeldError);
    expect(await store.tickets()).toEqual([lock.ticket]);
  });
}

/** A real process that uses locks; disposing kills it. */
class Worker implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  /** The first line of its output, parsed. */
  readonly answer: Promise<unknown[]>;
  readonly #lines: AsyncIterator<string>;

  constructor(work: Work) {
    const script = join(import.meta.dirname, 'worker.ts');
    const child = spawn(process.execPath, [script, JSON.stringify(work)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#child = child;
    this.#ended = once(child, 'close');
    const reader = createInterface(child.stdout);
    this.#lines = reader[Symbol.asyncIterator]();
    const line = once(reader, 'line').then(([text]) => JSON.parse(text));
    const tooSoon = this.#ended.then(() => {
      throw new Error('the process ended before it answered');
    });
    this.answer = Promise.race([line, tooSoon]);
    tooSoon.catch(() => {}); // Killing it rejects this, too.
  }

  /** Resolves to the next line of its output, parsed; of no use beside `answer`. */
  async next<T>(): Promise<T> {
    const { done, value } = await this.#lines.next();
    if (done) throw new Error('the process ended before it answered');
    return JSON.parse(value);
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Kills the process and resolves when it has ended. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}
