// The PostgreSQL store under faults: a real server that is frozen, killed or loses answers; real
// time.
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { StoreUnavailableError } from '../../../../lib/lock/errors.ts';
import { Connections } from '../../../../lib/lock/stores/postgres/connections.ts';
import { dialects } from '../../../../lib/lock/stores/postgres/dialect.ts';
import { postgresStore } from '../../../../lib/lock/stores/postgres/store.ts';
import type { TicketStore } from '../../../../lib/lock/stores/ticket-store.ts';
import type { Postgres } from '../../../support/postgres-server.ts';
import { startPostgres } from '../../../support/postgres-server.ts';
import { describeWith } from '../../../support/requirements.ts';
import { postgresFixture } from '../../bench/postgres-fixture.ts';
import { clientOf, eventually } from '../../bench/store-bench.ts';
import { StoreMirror } from '../../bench/store-mirror.ts';

describeWith(['postgres'], 'a postgres store', () => {
  let server: Postgres;

  beforeAll(async () => {
    server = await startPostgres();
  });
  afterAll(() => server.stop());

  /** Starts a client that locks the tables for some seconds. */
  /** Locks the tables as another client that hangs in its transaction; the call ends it. */
  function stall(schema: string): () => Promise<void> {
    const stalled = server.psql(`BEGIN; SELECT * FROM "${schema}".counter FOR UPDATE;
      SELECT pg_sleep(600)`);
    const ended = expect(stalled).rejects.toThrow(/terminating connection/);
    return async () => {
      await server.psql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()`);
      await ended;
    };
  }

  test('finds its own write when it repeats a step whose answer was lost', async () => {
    const { schema, connect } = await postgresFixture(server);
    await using direct = await connect();
    await using network = await startForgetfulNetwork(server);
    const { user, password, database } = server;
    const address = { host: '127.0.0.1', port: network.port, user, password, database };
    await using store = postgresStore({ ...address, schema });
    const client = await clientOf(store, 'n1');
    const request = client.request('db');
    const steps: [string, () => Promise<unknown>, () => Promise<void>][] = [
      [
        'enqueue',
        () => store.enqueue(request),
        async () => expect(await direct.tickets()).toMatchObject([request]),
      ],
      [
        'commit',
        async () => {
          const [ticket] = await direct.tickets();
          const guards = ticket ? [ticket] : [];
          return store.commit({
            guards,
            writes: [{ key: 'k', value: 'v', expectedRevision: 0 }],
            release: [],
          });
        },
        async () => expect(await direct.record('k')).toMatchObject({ value: 'v' }),
      ],
      [
        'remove',
        () => store.remove(request),
        async () => expect(await direct.tickets()).toEqual([]),
      ],
      [
        'tryEnqueue',
        () => store.tryEnqueue(request),
        async () => expect(await direct.tickets()).toMatchObject([request]),
      ],
      [
        'closeSession',
        () => store.closeSession(client.session),
        async () => expect(await direct.tickets()).toEqual([]),
      ],
    ];
    for (const [name, step, isDone] of steps) {
      network.forgetNextCommit();
      const lost = step();
      await expect(lost).rejects.toThrow(StoreUnavailableError);
      await expect(lost).rejects.toThrow(/the connection broke|terminated/);
      await eventually(isDone);
      const repeated = await step();
      if (name.endsWith('nqueue')) expect(repeated).toMatchObject({ state: 'granted' });
      await isDone();
    }
  });

  test('gives up in time while another client locks the tables, and still renews', async () => {
    const { schema, connect } = await postgresFixture(server);
    await using store = await connect();
    const client = await clientOf(store, 'n1', 1_500);
    const held = await client.hold('other');
    const endStall = stall(schema);
    await pause(200);
    const refused = client.enqueue('db');
    const renewed = await store.renewSession(client.session);
    expect(renewed).toEqual({ ttlMs: 1_500 });
    expect(await store.stands(held)).toBe(true);
    await expect(refused).rejects.toThrow(StoreUnavailableError);
    await endStall();
    expect(await store.tickets('db')).toEqual([]);
  });

  test('serves others although a client stopped in the middle of a step', async () => {
    const { schema, connect } = await postgresFixture(server);
    await using store = await connect();
    const client = await clientOf(store, 'n1');
    await using stopping = new Connections(
      { url: server.url, callTimeoutMs: 10_000 },
      dialects.postgres,
    );
    using limit = stopping.limit();
    const isInStep = Promise.withResolvers<void>();
    const isServed = Promise.withResolvers<void>();
    const step = stopping.use(async (connection) => {
      await connection.script(['BEGIN', `SELECT * FROM "${schema}".counter FOR UPDATE`]);
      isInStep.resolve();
      await isServed.promise;
      await connection.query('COMMIT');
    }, limit);
    await isInStep.promise;
    await client.hold('db');
    isServed.resolve();
    await expect(step).rejects.toThrow(/too slow to finish a step/);
  });

  test('answers 120 concurrent calls within their limits while the server is frozen', async () => {
    const { connect } = await postgresFixture(server);
    await using store = await connect();
    const client = await clientOf(store, 'n1');
    const sockets = () =>
      process.getActiveResourcesInfo().filter((resource) => resource === 'TCPSocketWrap').length;
    const before = sockets();
    await server.pause();
    const calls = Array.from({ length: 30 }, (_, index) => [
      client.enqueue(`db${index}`),
      store.tickets(),
      store.renewSession(client.session),
      store.health(),
    ]).flat();
    // The server answers nothing before the test resumes it.
    const outcomes = await Promise.allSettled(calls);
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected')
        expect(outcome.reason).toBeInstanceOf(StoreUnavailableError);
      else expect(outcome.value).toMatchObject([{ severity: 'error' }]);
    }
    // No connection is left that waits for an answer, not even the one from before.
    await eventually(() => expect(sockets()).toBeLessThan(before));
    await server.resume();
    await eventually(async () => expect(await store.renewSession(client.session)).toBeDefined());
    await client.hold('end');
  });

  test('closes while the server is frozen', async () => {
    const { connect } = await postgresFixture(server);
    const store = await connect();
    using _ = store.watch(new StoreMirror());
    await store.tickets();
    await server.pause();
    await store[Symbol.asyncDispose]();
    await server.resume();
  });

  test('repeats by itself the steps that a serializable database rolls back', async () => {
    const { connect } = await postgresFixture(server, { dialect: 'cockroach' });
    await using stack = new AsyncDisposableStack();
    const stores: TicketStore[] = [];
    for (let index = 0; index < 3; index += 1) stores.push(stack.use(await connect()));
    const clients = await Promise.all(stores.map((store) => clientOf(store, 'n')));
    const rollbacks = () => server.log().split('could not serialize access').length;
    const before = rollbacks();
    await Promise.all(
      clients.map(async (client) => {
        for (let round = 0; round < 20; round += 1) await client.enqueue('db');
      }),
    );
    expect(rollbacks()).toBeGreaterThan(before);
    const tokens = (await stores[0]?.tickets())?.map(({ token }) => token);
    expect(tokens).toEqual(Array.from({ length: 60 }, (_, index) => index + 1));
  });

  test('notifies watchers at once, not only when it polls', async () => {
    const { connect } = await postgresFixture(server);
    await using store = await connect();
    await using other = await connect();
    const client = await clientOf(other, 'n1');
    const mirror = new StoreMirror();
    using _ = store.watch(mirror);
    await eventually(() => expect(mirror.events).toEqual(['reset']));
    for (let round = 0; round < 10; round += 1) {
      await pause(50);
      const held = await client.hold(`db${round}`);
      await eventually(() => expect(mirror.tickets).toContainEqual(held), 400);
    }
  });

  test('S77 interrupts watchers that lost their connection, and resets them', async () => {
    const { connect } = await postgresFixture(server);
    await using store = await connect();
    const client = await clientOf(store, 'n1');
    const mirror = new StoreMirror();
    using _ = store.watch(mirror);
    await eventually(() => expect(mirror.events).toEqual(['reset']));
    await server.psql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE application_name = 'berth'`);
    await eventually(() => expect(mirror.events).toEqual(['reset', 'interrupted', 'reset']));
    const held = await client.hold('db');
    await eventually(() => expect(mirror.tickets).toEqual([held]), 700);
    expect(mirror.faults).toEqual([]);
  });

  test('resets a watcher that missed more changes than are kept', async () => {
    const { schema, connect } = await postgresFixture(server);
    await using store = await connect();
    const client = await clientOf(store, 'n1');
    const mirror = new StoreMirror();
    using _ = store.watch(mirror);
    const first = await client.hold('a');
    await eventually(() => expect(mirror.tickets).toEqual([first]));
    await server.psql(`BEGIN; UPDATE "${schema}".counter SET revision = 5000;
      DELETE FROM "${schema}".changes; COMMIT`);
    const second = await client.hold('b');
    await eventually(() => expect(mirror.tickets).toEqual([first, second]));
    expect(mirror.events.slice(-2)).toEqual(['interrupted', 'reset']);
  });

  test('keeps no more changes than a watcher may be behind', async () => {
    const { schema, connect } = await postgresFixture(server);
    await using store = await connect();
    const client = await clientOf(store, 'n1');
    await server.psql(`INSERT INTO "${schema}".changes
      SELECT revision, '{}' FROM generate_series(1, 4998) AS revision;
      UPDATE "${schema}".counter SET revision = 4998`);
    await client.hold('a');
    await client.hold('b');
    expect(await server.psql(`SELECT min(revision), max(revision) FROM "${schema}".changes`)).toBe(
      '4001|5000',
    );
  });
});

/** Starts a proxy to the server that can drop the answer to the next commit. */
async function startForgetfulNetwork({ host, port }: Postgres) {
  const sockets = new Set<Socket>();
  let isForgetful = false;
  const proxy = createServer((client) => {
    const upstream = connect(port, host);
    let isForgetting = false;
    client.on('data', (chunk) => {
      if (isForgetful && /COMMIT(?!TED)/.test(chunk.toString('latin1'))) {
        isForgetful = false;
        isForgetting = true;
      }
      upstream.write(chunk);
    });
    upstream.on('data', (chunk) => {
      if (!isForgetting) client.write(chunk);
      else if (chunk.includes('COMMIT')) client.destroy();
    });
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => {}); // The proxy cuts connections on purpose.
      socket.on('close', () => other.destroy());
    }
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  return {
    port: (proxy.address() as AddressInfo).port,
    forgetNextCommit: () => {
      isForgetful = true;
    },
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => proxy.close(resolve));
    },
  };
}
