// The PostgreSQL store behind a pooler of sessions: a real server, and a proxy that refuses parameters of a
// connection as PgBouncer does; real time.
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { Transform } from 'node:stream';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Connections } from '../../../../lib/lock/stores/postgres/connections.ts';
import { dialects } from '../../../../lib/lock/stores/postgres/dialect.ts';
import { postgresStore } from '../../../../lib/lock/stores/postgres/store.ts';
import type { Postgres } from '../../../support/postgres-server.ts';
import { startPostgres } from '../../../support/postgres-server.ts';
import { describeWith } from '../../../support/requirements.ts';
import { clientOf, eventually } from '../../bench/store-bench.ts';
import { StoreMirror } from '../../bench/store-mirror.ts';

describeWith(['postgres'], 'a postgres store behind a pooler', () => {
  let server: Postgres;
  let pooler: Awaited<ReturnType<typeof startPooler>>;

  beforeAll(async () => {
    server = await startPostgres();
    pooler = await startPooler(server, /statement_timeout|lock_timeout|idle_in_|options/);
  });
  afterAll(async () => {
    await pooler[Symbol.asyncDispose]();
    await server.stop();
  });

  const address = (port: number) => {
    const { user, password, database } = server;
    return { host: '127.0.0.1', port, user, password, database };
  };

  test('F11 works although the pooler knows no parameters but the usual', async () => {
    await using store = postgresStore(address(pooler.port));
    const client = await clientOf(store, 'n1');
    const mirror = new StoreMirror();
    using _ = store.watch(mirror);
    const held = await client.hold('db');
    await eventually(() => expect(mirror.tickets).toEqual([held]));
    expect(pooler.refused()).toBeGreaterThan(0);
  });

  test('F11 sets the limits of the server on each connection itself', async () => {
    await using connections = new Connections(
      { ...address(pooler.port), callTimeoutMs: 1_500 },
      dialects.cockroach,
    );
    const settings = `current_setting('statement_timeout') AS statement,
      current_setting('lock_timeout') AS lock,
      current_setting('idle_in_transaction_session_timeout') AS idle,
      current_setting('default_transaction_isolation') AS isolation`;
    const limits = { statement: '1500ms', lock: '1500ms', idle: '1s', isolation: 'serializable' };
    using limit = connections.limit();
    const read = () => connections.use((each) => each.query(`SELECT ${settings}`), limit);
    expect(await Promise.all([read(), read()])).toEqual([[limits], [limits]]);
    await using line = await connections.open(() => {});
    expect(await line.query(`SELECT ${settings}`)).toEqual([limits]);
  });

  test('F11 health says that notifications do not arrive, as with a pooler of transactions', async () => {
    await using deaf = await startPooler(server, never, { dropsNotifications: true });
    await using silent = postgresStore(address(deaf.port));
    expect(await silent.health()).toEqual([
      {
        severity: 'warning',
        message: expect.stringMatching(
          /passes no notifications on.* pool sessions, not transactions/,
        ),
      },
    ]);
    await using store = postgresStore(address(pooler.port));
    expect(await store.health()).toEqual([]);
  });

  test('health looks at notifications on the connection that watches, and opens no other', async () => {
    for (const options of [{ dropsNotifications: false }, { dropsNotifications: true }]) {
      await using proxy = await startPooler(server, never, options);
      await using store = postgresStore(address(proxy.port));
      const mirror = new StoreMirror();
      using _ = store.watch(mirror);
      const held = await (await clientOf(store, 'n1')).hold(`db ${options.dropsNotifications}`);
      await eventually(() => expect(mirror.tickets).toContainEqual(held));
      const before = proxy.accepted();
      for (let look = 0; look < 2; look += 1) {
        expect(await store.health()).toHaveLength(options.dropsNotifications ? 1 : 0);
      }
      expect(proxy.accepted()).toBe(before);
      await store.remove(held);
    }
  });

  test('health of a store that nobody watches connects until notifications have arrived once', async () => {
    await using proxy = await startPooler(server, never);
    await using store = postgresStore(address(proxy.port));
    expect(await store.health()).toEqual([]);
    const before = proxy.accepted();
    expect(await store.health()).toEqual([]);
    expect(proxy.accepted()).toBe(before);
  });

  test('health names other faults, too, when there is no connection for the look at notifications', async () => {
    await server.psql(`CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'`);
    await using proxy = await startPooler(server, never);
    await using store = postgresStore({ ...address(proxy.port), database: 'ascii' });
    await store.tickets();
    proxy.accept(false);
    expect(await store.health()).toEqual([
      { severity: 'warning', message: expect.stringContaining('has the encoding SQL_ASCII') },
      {
        severity: 'warning',
        message: expect.stringMatching(
          /^the look at whether .* notifications on has failed: .*broke/,
        ),
      },
    ]);
    proxy.accept(true);
    expect(await store.health()).toHaveLength(1);
  });

  test('two clients whose connections a pooler swaps never run statements of each other', async () => {
    await using swapping = await startPooler(server, never);
    await using one = postgresStore({ ...address(swapping.port), schema: 'program one' });
    await using two = postgresStore({ ...address(swapping.port), schema: 'program two' });
    // The same calls in the same order, with the names of two schemas in their statements.
    const clients = [await clientOf(one, 'n1'), await clientOf(two, 'n2')] as const;
    for (const client of clients) await client.store.remove(await client.hold('warm'));
    for (let round = 0; round < 3; round += 1) {
      swapping.swap();
      const held = [await clients[0].hold(`one ${round}`), await clients[1].hold(`two ${round}`)];
      expect([...(await one.tickets()), ...(await two.tickets())]).toEqual(held);
      swapping.swap();
      for (const [index, ticket] of held.entries()) await clients[index]?.store.remove(ticket);
      expect([...(await one.tickets()), ...(await two.tickets())]).toEqual([]);
    }
  });

  test('F11 passes on what the pooler says of any other parameter', async () => {
    await using strict = await startPooler(server, /application_name/);
    await using store = postgresStore(address(strict.port));
    await expect(store.tickets()).rejects.toThrow(
      /it answers "unsupported startup parameter: application_name"; it does not speak/,
    );
  });
});

/** Matches no text. */
const never = /(?!)/;

/**
 * Starts a proxy that refuses a connection whose first message has a parameter of these. With
 * `dropsNotifications` none reaches a client. `swap` gives the two clients the connections of each other, as a
 * pooler of transactions may between two transactions; there have to be two.
 */
async function startPooler(
  { host, port }: Postgres,
  unknown: RegExp,
  { dropsNotifications = false } = {},
) {
  const sockets = new Set<Socket>();
  const links = new Map<Socket, Socket>();
  let refused = 0;
  let accepted = 0;
  let isAccepting = true;
  const proxy = createServer((client) => {
    client.on('error', () => {}); // It may be cut off.
    if (!isAccepting) {
      client.destroy();
      return;
    }
    accepted += 1;
    const upstream = connect(port, host);
    client.once('data', (chunk) => {
      const [parameter] = unknown.exec(chunk.toString('latin1')) ?? [];
      if (parameter === undefined) {
        upstream.write(chunk);
        client.pipe(upstream);
        links.set(client, upstream);
        if (dropsNotifications) upstream.pipe(withoutNotifications()).pipe(client);
        else upstream.pipe(client);
      } else {
        refused += 1;
        client.end(refusal(parameter));
      }
    });
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => {}); // Either side may be cut off.
      socket.on('close', () => other.destroy());
    }
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  return {
    port: (proxy.address() as AddressInfo).port,
    refused: () => refused,
    /** The number of connections so far. */
    accepted: () => accepted,
    /** With false, further connections break. */
    accept: (isWanted: boolean) => {
      isAccepting = isWanted;
    },
    swap: () => {
      const [[one, first] = [], [two, second] = [], ...others] = links;
      if (!one || !first || !two || !second || others.length > 0)
        throw new Error('not two clients');
      one.unpipe().pipe(second).unpipe().pipe(one);
      two.unpipe().pipe(first).unpipe().pipe(two);
      links.set(one, second).set(two, first);
    },
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => proxy.close(resolve));
    },
  };
}

/** Drops the messages NotificationResponse from what a server sends. */
function withoutNotifications(): Transform {
  let rest = Buffer.alloc(0);
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      rest = Buffer.concat([rest, chunk]);
      // A message is its type, and a length that counts itself.
      while (rest.length >= 5 && rest.length > rest.readInt32BE(1)) {
        const end = 1 + rest.readInt32BE(1);
        if (rest[0] !== 'A'.charCodeAt(0)) this.push(rest.subarray(0, end));
        rest = rest.subarray(end);
      }
      done();
    },
  });
}

/** Returns PgBouncer's answer, an ErrorResponse of the protocol. */
function refusal(parameter: string): Buffer {
  const fields = `SFATAL\0C08P01\0Munsupported startup parameter: ${parameter}\0\0`;
  const head = Buffer.alloc(5);
  head.write('E');
  head.writeInt32BE(4 + fields.length, 1);
  return Buffer.concat([head, Buffer.from(fields)]);
}
