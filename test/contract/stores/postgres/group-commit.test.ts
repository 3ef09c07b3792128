// How the steps of one client share transactions: a real server, real time. The row of a change shows which
// transaction has written it.
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { GuardLostError } from '../../../../lib/lock/errors.ts';
import { Connections } from '../../../../lib/lock/stores/postgres/connections.ts';
import { Database } from '../../../../lib/lock/stores/postgres/database.ts';
import { dialects } from '../../../../lib/lock/stores/postgres/dialect.ts';
import type { Granted, Waiting } from '../../../../lib/lock/stores/ticket-store.ts';
import type { Ticket } from '../../../../lib/lock/ticket.ts';
import type { Postgres } from '../../../support/postgres-server.ts';
import { startPostgres } from '../../../support/postgres-server.ts';
import { describeWith } from '../../../support/requirements.ts';
import { postgresFixture } from '../../bench/postgres-fixture.ts';
import { clientOf, shared } from '../../bench/store-bench.ts';

describeWith(['postgres'], 'group commit on PostgreSQL', () => {
  let server: Postgres;

  beforeAll(async () => {
    server = await startPostgres();
  });
  afterAll(() => server.stop());

  async function begin() {
    const { schema, connect } = await postgresFixture(server);
    const store = await connect();
    const client = await clientOf(store, 'n1');
    await store.remove(await client.hold('first'));
    const before = Number(await server.psql(`SELECT revision FROM "${schema}".counter`));
    /** Returns the number of changes since, and of the transactions that wrote them. */
    const written = async () => {
      const counts = await server.psql(
        `SELECT count(*), count(DISTINCT xmin::text) FROM "${schema}".changes WHERE revision > ${before}`,
      );
      const [changes, transactions] = counts.split('|').map(Number);
      return { changes, transactions };
    };
    return { store, client, schema, written };
  }

  function ticketsOf(answers: readonly (Granted | Waiting)[]): Ticket[] {
    return answers.map(({ ticket }) => ticket);
  }

  test('P5 16 requests of one moment take one transaction, and 16 removals another', async () => {
    const { store, client, written } = await begin();
    await using _ = store;
    const names = Array.from({ length: 16 }, (_, index) => `lock ${index}`);
    const tickets = ticketsOf(await Promise.all(names.map((name) => client.enqueue(name))));
    expect(await written()).toEqual({ changes: 16, transactions: 1 });
    expect(new Set(tickets.map(({ token }) => token)).size).toBe(16);
    await Promise.all(tickets.map((ticket) => store.remove(ticket)));
    expect(await written()).toEqual({ changes: 32, transactions: 2 });
    expect(await store.tickets()).toEqual([]);
  });

  test('P5 what arrives during a transaction shares the next one', async () => {
    const { store, client, written } = await begin();
    await using _ = store;
    const first = client.enqueue('first');
    await new Promise((resolve) => setImmediate(resolve));
    const later = Array.from({ length: 16 }, (_, index) => client.enqueue(`lock ${index}`));
    await Promise.all([first, ...later]);
    expect(await written()).toEqual({ changes: 17, transactions: 2 });
  });

  test('the requests for one lock in one transaction are queued in their order', async () => {
    const { store, client, written } = await begin();
    await using _ = store;
    const answers = await Promise.all([
      client.enqueue('db'),
      client.enqueue(shared('db')),
      client.enqueue(shared('db')),
      client.enqueue('db'),
    ]);
    expect(answers.map(({ state }) => state)).toEqual(['granted', 'waiting', 'waiting', 'waiting']);
    const tickets = ticketsOf(answers);
    const tokens = tickets.map(({ token }) => token);
    expect(tokens).toEqual(tokens.toSorted((a, b) => a - b));
    const blockers = answers.map((each) => ('blockers' in each ? each.blockers : []));
    expect(blockers).toEqual([[], [tickets[0]], [tickets[0]], [tickets[2]]]);
    expect(await written()).toEqual({ changes: 4, transactions: 1 });
  });

  test('a lock that is removed goes to a request in the same transaction', async () => {
    const { store, client, written } = await begin();
    await using _ = store;
    const held = await client.hold('db');
    const [, next] = await Promise.all([store.remove(held), client.tryEnqueue('db')]);
    expect(next.state).toBe('granted');
    expect(await written()).toEqual({ changes: 3, transactions: 2 });
  });

  test('a change sees the records and tickets of the steps before it in its transaction', async () => {
    const { store, client, written } = await begin();
    await using _ = store;
    const held = await client.hold('db');
    const outcomes = await Promise.allSettled([
      client.write(held, 'k', 'one', 0),
      client.write(held, 'k', 'two', 0),
      store.remove(held),
      client.write(held, 'k', 'three'),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual([
      'fulfilled',
      'rejected',
      'fulfilled',
      'rejected',
    ]);
    expect(outcomes[3]).toMatchObject({ reason: expect.any(GuardLostError) });
    expect(await store.record('k')).toMatchObject({ value: 'one' });
    expect(await written()).toEqual({ changes: 3, transactions: 2 });
  });

  test('a step that can never be stored fails alone', async () => {
    const { store, client } = await begin();
    await using _ = store;
    // Random, because the index stores compressed names, with a limit for each.
    const tooLong = Array.from({ length: 9_000 }, () => Math.random().toString(36)).join('');
    const outcomes = await Promise.allSettled([
      client.enqueue('a'),
      client.enqueue(tooLong),
      client.enqueue('b'),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(await store.tickets()).toMatchObject([
      { locks: [{ name: 'a' }] },
      { locks: [{ name: 'b' }] },
    ]);
  });

  test('P5 a connection prepares each statement once, however many steps it takes', async () => {
    await using fixture = await database();
    await cycles(fixture, 3);
    const before = await fixture.prepared();
    await cycles(fixture, 20);
    expect(await fixture.prepared()).toEqual(before);
    expect(before).toBeGreaterThan(0);
  });

  test('a server that has lost the prepared statements gets plain ones, as behind a pooler of transactions', async () => {
    await using fixture = await database();
    await cycles(fixture, 2);
    await fixture.database.look((connection) => connection.script(['DEALLOCATE ALL']));
    await cycles(fixture, 2);
    expect(await fixture.prepared()).toBe(0);
  });

  /** The tables without a store above them, and the number of statements that their connection has prepared. */
  async function database() {
    const { schema, connect } = await postgresFixture(server);
    const connections = new Connections({ url: server.url }, dialects.postgres);
    const database = new Database(connections, schema, dialects.postgres);
    await (await connect())[Symbol.asyncDispose]();
    return {
      database,
      prepared: () =>
        database.look(async (connection) => {
          const [row] = await connection.query('SELECT count(*) FROM pg_prepared_statements');
          return Number(row?.count);
        }),
      [Symbol.asyncDispose]: () => connections[Symbol.asyncDispose](),
    };
  }

  async function cycles({ database }: { database: Database }, count: number): Promise<void> {
    for (let cycle = 0; cycle < count; cycle += 1) {
      await database.write(['SELECT $1::int8 AS number', [cycle]], ([row], { effects, send }) => {
        expect(row).toEqual({ number: String(cycle) });
        send(`SELECT $1::text`, ['x']);
        effects.openedGates.push('none');
      });
    }
  }
});
