// `openLocks`: one line to locks on each kind of store, its defaults, and clients of one's own; real
// servers and files, real time.
import { Socket } from 'node:net';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { Etcd3 } from 'etcd3';
import pg from 'pg';
import type { LockPlace } from '../../../lib/lock/index.ts';
import { LockContendedError, openLocks } from '../../../lib/lock/index.ts';
import { memoryStore } from '../../../lib/lock/stores/memory/store.ts';
import { startEtcd } from '../../support/etcd-server.ts';
import { startPostgres } from '../../support/postgres-server.ts';
import { describeWith } from '../../support/requirements.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';

/** Two that open the same place exclude each other. */
async function expectShared(first: LockPlace, second: LockPlace): Promise<void> {
  await using n1 = await openLocks(first, { host: 'n1' });
  await using n2 = await openLocks(second, { host: 'n2' });
  await using held = await n1.lock('db');
  expect(held.ticket.locks).toEqual([{ name: 'db', mode: 'exclusive' }]);
  const refused = await n2.lock('db', { timeoutMs: 0 }).catch((error) => error);
  expect(refused).toBeInstanceOf(LockContendedError);
  expect(refused.message).toContain('n1');
  await held.unlock();
  expect(await n2.withLock('db', async ({ token }) => token > held.token)).toBe(true);
}

describe('locks opened by an address', () => {
  test('have a host, an owner, a TTL and a reason without being told any', async () => {
    await using locks = await openLocks('memory:');
    await using lock = await locks.lock('db');
    const { owner, holder } = lock.ticket;
    expect(owner).toBe(hostname());
    expect(holder.host).toBe(hostname());
    expect(holder.reason).toMatch(new RegExp(`, process ${process.pid}$`));
    expect(locks.leftMs + locks.marginMs).toBeGreaterThan(10_000);
    expect(locks.leftMs + locks.marginMs).toBeLessThanOrEqual(15_000);
  });

  test('take names alone, several, and requests side by side', async () => {
    await using locks = await openLocks('memory:', { reason: 'Backup' });
    await using both = await locks.lock(['db', { name: 'config', mode: 'shared' }]);
    expect(both.ticket.locks).toEqual([
      { name: 'db', mode: 'exclusive' },
      { name: 'config', mode: 'shared' },
    ]);
    expect(both.ticket.holder.reason).toBe('Backup');
    expect(await locks.tryLock('db')).toBeUndefined();
    await using read = await locks.tryLock({ name: 'config', mode: 'shared' }, { reason: 'Read' });
    expect(read?.ticket.holder.reason).toBe('Read');
    expect(await locks.withLock('a', { reason: 'A' }, async (a) => a.ticket.holder.reason)).toBe(
      'A',
    );
    await expect(locks.lock([])).rejects.toThrow(RangeError);
  });

  test('close their store once, and leave a store of their owner open', async () => {
    const store = memoryStore();
    const locks = await openLocks({ store });
    await locks.lock('db');
    await Promise.all([locks.close(), locks.close()]);
    expect(await store.tickets()).toEqual([]);
    const own = await openLocks('memory:');
    await own.close();
    await expect(own.list()).rejects.toThrow(/closed/);
  });

  test('need an owner if a later process takes them over', async () => {
    const keep = { resume: undefined, save: async () => {} };
    await expect(openLocks('memory:', { keep })).rejects.toThrow(/need an owner/);
  });

  test('are shared by those who open one file', async () => {
    await using directory = await makeTemporaryDirectory();
    const path = join(directory.path, 'locks.db');
    await expectShared(path, `sqlite:${path}`);
  });
});

describeWith(['etcd'], 'locks on etcd', () => {
  test('are opened by an address, by settings, and by an Etcd3', async () => {
    await using etcd = await startEtcd();
    const client = new Etcd3({ hosts: [...etcd.endpoints] });
    try {
      await expectShared(`${etcd.url}/app`, { etcd: client, prefix: '/app' });
      const endpoints = etcd.endpoints.map((url) => new URL(url).host);
      await expectShared(etcd.url, { etcd: { endpoints } });
      expect(await client.getAll().keys()).not.toEqual([]); // Nobody has closed it.
    } finally {
      client.close();
    }
  });

  test('are opened with a file of certificates, and not without the file', async () => {
    await using etcd = await startEtcd({ tls: true });
    const { tls } = etcd;
    const address = `${etcd.url}?ca=${tls?.ca}&cert=${tls?.cert}&key=${tls?.key}`;
    await expectShared(address, address);
    await expect(openLocks(`${etcd.url}?ca=/no/such/ca.pem`)).rejects.toThrow(/ENOENT.*ca\.pem/);
  });
});

describeWith(['postgres'], 'locks on PostgreSQL', () => {
  test('are opened by an address, and by a pool, which its owner goes on using', async () => {
    await using server = await startPostgres();
    await using pool = poolOf({ connectionString: server.url, max: 1, statement_timeout: 1 });
    await using busy = await borrowed(pool.pool);
    await expectShared(`${server.url}?schema=app`, { pool: pool.pool, schema: 'app' });
    expect((await busy.client.query('SHOW statement_timeout')).rows).toEqual([
      { statement_timeout: '1ms' },
    ]);
  });

  test('use the password and the sockets of a pool', async () => {
    await using server = await startPostgres();
    const { host, port, user, database, password } = server;
    let sockets = 0;
    const stream = () => {
      sockets += 1;
      return new Socket();
    };
    await using pool = poolOf({ host, port, user, database, password: () => password, stream });
    await expectShared(server.url, { pool: pool.pool });
    expect(sockets).toBeGreaterThan(1);
  });
});

function poolOf(options: pg.PoolConfig) {
  const pool = new pg.Pool(options);
  return { pool, [Symbol.asyncDispose]: () => pool.end() };
}

/** Has the only connection of a pool. */
async function borrowed(pool: pg.Pool) {
  const client = await pool.connect();
  return { client, [Symbol.asyncDispose]: async () => client.release() };
}
