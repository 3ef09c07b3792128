// The PostgreSQL store's options, schema and errors: real servers, real time.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { StoreRefusedError, StoreUnavailableError } from '../../../../lib/lock/errors.ts';
import type { PostgresStoreOptions } from '../../../../lib/lock/stores/postgres/store.ts';
import { postgresStore } from '../../../../lib/lock/stores/postgres/store.ts';
import type { Postgres } from '../../../support/postgres-server.ts';
import { startPostgres } from '../../../support/postgres-server.ts';
import { freePort } from '../../../support/processes.ts';
import { describeWith } from '../../../support/requirements.ts';
import { dialects, postgresFixture } from '../../bench/postgres-fixture.ts';
import { clientOf, eventually } from '../../bench/store-bench.ts';
import { StoreMirror } from '../../bench/store-mirror.ts';

/** Texts that must stay different although bytes, quotes or parameters could be mixed up. */
const oddTexts = [
  'a',
  'A',
  'a ',
  'ü',
  'u\u0308',
  "'; DROP SCHEMA berth CASCADE; --",
  `"quoted" and 'quoted'`,
  '$1',
  '{a,b}',
  '\\',
  '\\x00',
  'NULL',
  '%',
  '%0;',
  '%25;',
  '\0',
  'a\0b',
  '\ud800',
  '\udc00',
  '\ufffd',
  '🔒',
  '\n',
  'long '.repeat(300),
];

describeWith(['postgres'], 'a postgres store', () => {
  let server: Postgres;

  beforeAll(async () => {
    server = await startPostgres();
  });
  afterAll(() => server.stop());

  test.each(dialects)(
    'S20 creates its tables once when ten %s clients start at once',
    async (dialect) => {
      const fixture = await postgresFixture(server, { dialect });
      await using stack = new AsyncDisposableStack();
      const stores = await Promise.all(
        Array.from({ length: 10 }, async () => stack.use(await fixture.connect())),
      );
      const clients = await Promise.all(stores.map((store) => clientOf(store, 'n')));
      await Promise.all(clients.map((client) => client.enqueue('db')));
      const tickets = await stores[0]?.tickets();
      expect(tickets?.map(({ token }) => token)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    },
  );

  test('completes tables that a killed client left half made', async () => {
    const { connect, schema } = await postgresFixture(server);
    await server.psql(`CREATE SCHEMA "${schema}"; CREATE TABLE "${schema}".gates
      (lock_name TEXT PRIMARY KEY, gate TEXT NOT NULL)`);
    await using store = await connect();
    expect(await (await clientOf(store, 'n1')).hold('db')).toMatchObject({ token: 1 });
  });

  test('shares a database with other schemas, each a store by itself', async () => {
    const schemas = [
      'berth',
      'Berth',
      'a "b\'; DROP SCHEMA berth CASCADE; --',
      'ü',
      'x'.repeat(63),
    ];
    for (const schema of schemas) {
      await using store = postgresStore({ url: server.url, schema });
      const mirror = new StoreMirror();
      using _ = store.watch(mirror);
      await eventually(() => expect(mirror.events).toEqual(['reset']));
      const held = await (await clientOf(store, 'n1')).hold('db');
      expect(held.token).toBe(1);
      await eventually(() => expect(mirror.tickets).toEqual([held]), 700);
    }
    const names = await server.psql('SELECT nspname FROM pg_namespace');
    expect(names.split('\n')).toEqual(expect.arrayContaining(schemas));
    for (const schema of ['', 'pg_x', 'x'.repeat(64), 'a\0', '\ud800']) {
      expect(() => postgresStore({ url: server.url, schema })).toThrow(RangeError);
    }
  });

  test.each(dialects)('keeps odd texts apart, as a %s', async (dialect) => {
    const { connect } = await postgresFixture(server, { dialect });
    await using store = await connect();
    const mirror = new StoreMirror();
    using _ = store.watch(mirror);
    const client = await clientOf(store, oddTexts.join('|'));
    const guard = await client.hold('guard');
    for (const text of oddTexts) {
      const request = { ...client.request(text), nonce: text };
      const held = await store.tryEnqueue({
        ...request,
        holder: { ...request.holder, host: text, detail: text },
      });
      if (held.state !== 'granted') throw new Error(`${inspect(text)} is taken for another`);
      expect(await client.tryEnqueue(text)).toMatchObject({ blockers: [held.ticket] });
      expect(await store.tickets(text)).toEqual([held.ticket]);
      await client.write(guard, text, text, 0);
      expect(await store.record(text)).toMatchObject({ key: text, value: text });
      await store.closeGate({ lockName: text, host: text, since: text, why: text });
      expect(await store.stands(held.ticket)).toBe(true);
    }
    expect(await store.tickets()).toHaveLength(oddTexts.length + 1);
    await eventually(async () => {
      expect(mirror.tickets).toEqual(await store.tickets());
      expect(mirror.gates).toEqual(await store.gates());
      expect(mirror.records.map(({ key }) => key)).toEqual([...oddTexts].sort());
    });
    for (const text of oddTexts) {
      await store.openGate(text);
      await client.write(guard, text, undefined);
      await store.remove({ ...client.request(text), nonce: text });
      expect(await store.record(text)).toBeUndefined();
    }
    expect(await store.tickets()).toEqual([guard]);
    expect(await store.gates()).toEqual([]);
    expect(mirror.faults).toEqual([]);
  });

  test('rejects a name that is too long for an index, with an error that is final', async () => {
    const { connect } = await postgresFixture(server);
    await using store = await connect();
    const client = await clientOf(store, 'n1');
    const name = Array.from({ length: 10_000 }, (_, index) => index).join();
    const refused = client.tryEnqueue(name);
    await expect(refused).rejects.toThrow(/^PostgreSQL at .* refused a statement: index row/);
    await expect(refused).rejects.not.toThrow(StoreUnavailableError);
    expect(await store.tickets()).toEqual([]);
  });

  test('does not touch the tables of a newer version', async () => {
    const { connect, schema } = await postgresFixture(server);
    await using first = await connect();
    await first.tickets();
    await server.psql(`UPDATE "${schema}".counter SET format = 99`);
    await using second = await connect();
    await expect(second.tickets()).rejects.toThrow(/newer version/);
    expect(await second.health()).toMatchObject([{ severity: 'error' }]);
  });

  test('adds what the tables of an earlier release lack', async () => {
    const { connect, schema } = await postgresFixture(server);
    await using first = await connect();
    const held = await (await clientOf(first, 'n1')).hold('db');
    await server.psql(
      `ALTER TABLE "${schema}".sessions DROP COLUMN incarnation; UPDATE "${schema}".counter SET format = 1`,
    );
    await using second = await connect();
    const resume = { ttlMs: 60_000, owner: 'n1', resumable: true, resume: held.session };
    expect(await second.openSession(resume)).toMatchObject({ id: held.session, resumed: true });
    expect(await second.stands(held)).toBe(true);
  });

  test('says what the owner has to run if the user may not add what is lacking', async () => {
    const { connect, schema } = await postgresFixture(server);
    await using first = await connect();
    const held = await (await clientOf(first, 'n1')).hold('db');
    const tables = `ALL TABLES IN SCHEMA "${schema}"`;
    await server.psql(
      `ALTER TABLE "${schema}".ticket_locks DROP COLUMN permits; CREATE USER rows PASSWORD 'pw';
       GRANT USAGE ON SCHEMA "${schema}" TO rows;
       GRANT SELECT, INSERT, UPDATE, DELETE ON ${tables} TO rows`,
    );
    const options = { ...addressOf(server), user: 'rows', password: 'pw', schema };
    await using refused = postgresStore(options);
    const error = await refused.tickets().catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(StoreRefusedError);
    const [, statements = ''] = /their owner has to run: (.*)$/.exec(String(error)) ?? [];
    expect(statements).toContain(`ALTER TABLE "${schema}".ticket_locks ADD COLUMN`);
    await server.psql(statements);
    expect(await refused.tickets()).toEqual([held]);
    expect(await refused.stands(held)).toBe(true);
  });

  test('works for a user who may not create schemas, in a schema of his own', async () => {
    const given = 'a schema for berth';
    await server.psql(
      `CREATE USER small PASSWORD 'pw'; CREATE SCHEMA "${given}" AUTHORIZATION small`,
    );
    const options = { ...addressOf(server), user: 'small', password: 'pw' };
    await using store = postgresStore({ ...options, schema: given });
    await (await clientOf(store, 'n1')).hold('db');
    expect(await store.health()).toEqual([]);
    await using other = postgresStore({ ...options, schema: 'another' });
    await expect(other.tickets()).rejects.toThrow(/may not do this.*owner of the schema/);
  });

  test('connects through a Unix socket', async () => {
    const { user, password, database, port, socketDirectory: host } = server;
    await using store = postgresStore({ host, port, user, password, database });
    expect(await store.health()).toEqual([]);
  });

  test('S72 names the server and the reason when it is unusable, and never the password', async () => {
    const good = addressOf(server);
    const { user, password } = server;
    const port = await freePort();
    const cases: [PostgresStoreOptions, RegExp][] = [
      [{ ...good, user, password: 'pass-wrong' }, /refused the user or the password/],
      [{ ...good, user: 'nobody', password: 'pass-wrong' }, /user nobody.*refused the user/],
      [{ ...good, user, password, database: 'none' }, /no such database/],
      [{ ...good, user, password, port }, new RegExp(`127.0.0.1:${port} .*nothing answers`)],
      [{ ...good, user, password, host: 'berth.invalid' }, /berth\.invalid:.*name of the host/],
      [{ ...good, user, password, ssl: true }, /does not offer TLS/],
      [{ ...good, user, password, host: server.dataDirectory }, /no such socket/],
      [{ url: server.url.replace(/:[^:]*@/, ':pass-wrong@') }, /refused the user or the password/],
    ];
    for (const [options, why] of cases) {
      await using store = postgresStore({ ...options, schema: 'never made' });
      const error: unknown = await store.tickets().catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(StoreUnavailableError);
      expect(error).toHaveProperty('cause');
      expect(error).toMatchObject({ message: expect.stringMatching(why) });
      const { message } = error as Error;
      expect(message).toMatch(/^PostgreSQL at \S+:\d+ \(database \S+, user \S+\) can't be used: /);
      expect(await store.health()).toEqual([{ severity: 'error', message }]);
      for (const secret of [password, encodeURIComponent(password), 'pass-wrong']) {
        expect(inspect(error, { depth: 9, showHidden: true })).not.toContain(secret);
      }
    }
    for (const url of ['postgres://u:pass-wrong@host:port/db', 'http//:pass-wrong']) {
      const broken = () => postgresStore({ url });
      expect(broken).toThrow(/URL of the lock store can't be read/);
      expect(broken).not.toThrow(/pass-wrong/);
    }
  });

  test('reports a server with unsafe settings', async () => {
    await using odd = await startPostgres({ settings: ['fsync=off'] });
    await using store = postgresStore({ url: odd.url });
    expect(await store.health()).toEqual([
      { severity: 'warning', message: expect.stringMatching(/fsync is off.*turn it on/) },
    ]);
    await odd.psql(
      "ALTER SYSTEM SET default_transaction_read_only = 'on'; SELECT pg_reload_conf()",
    );
    // Each step asks for a transaction that may write; the server's default does not matter.
    await eventually(async () => {
      expect(await odd.psql('SHOW default_transaction_read_only')).toBe('on');
    });
    await store.openSession({ ttlMs: 1000, owner: 'n1', resumable: false }).then(
      () => expect('opened').toBe('refused'),
      (error) => expect(error.message).toMatch(/only reads.*connect to the primary/),
    );
  });

  test('makes each commit wait for the disk although the server would not', async () => {
    const lax = ['synchronous_commit=off', 'log_statement=all'];
    await using server = await startPostgres({ settings: lax });
    await using store = postgresStore({ url: server.url });
    const client = await clientOf(store, 'n1');
    await client.hold('db');
    await server.psql(`CREATE FUNCTION setting() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN RAISE LOG 'commit is %', current_setting('synchronous_commit'); RETURN NEW; END $$;
      CREATE TRIGGER seen BEFORE INSERT ON berth.tickets FOR EACH ROW EXECUTE FUNCTION setting()`);
    await client.hold('other');
    expect(server.log()).toContain('commit is on');
  });

  test('refuses a standby, which may lag behind, also for reads', async () => {
    await using standby = await startPostgres();
    await using store = postgresStore({ url: standby.url });
    const client = await clientOf(store, 'n1');
    const held = await client.hold('db');
    const mirror = new StoreMirror();
    using _ = store.watch(mirror);
    await eventually(() => expect(mirror.tickets).toEqual([held]));
    await standby.kill();
    await writeFile(join(standby.dataDirectory, 'standby.signal'), '');
    await standby.restart();
    await eventually(async () => {
      expect(await store.health()).toEqual([
        { severity: 'error', message: expect.stringMatching(/standby.*connect to the primary/) },
      ]);
    });
    for (const step of [
      () => store.tickets(),
      () => store.place(held),
      () => store.stands(held),
      () => store.record('key'),
      () => store.gates(),
      () => store.sessionAlive(client.session),
      () => store.renewSession(client.session),
      () => client.enqueue('other'),
    ]) {
      await expect(step()).rejects.toThrow(/standby.*connect to the primary/);
      await expect(step()).rejects.toThrow(StoreUnavailableError);
    }
    expect(mirror.events).toEqual(['reset', 'interrupted']);
    await standby.psql('SELECT pg_promote()');
    await eventually(() => expect(mirror.events).toEqual(['reset', 'interrupted', 'reset']));
    expect(mirror.tickets).toEqual([held]);
  });

  test('rejects calls after it was closed, and closes twice', async () => {
    const store = postgresStore({ url: server.url });
    using _ = store.watch(new StoreMirror());
    await store.tickets();
    await store[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
    await expect(store.tickets()).rejects.toThrow(StoreUnavailableError);
    expect(await store.health()).toMatchObject([{ severity: 'error' }]);
  });
});

function addressOf({ host, port, database }: Postgres) {
  return { host, port, database };
}
