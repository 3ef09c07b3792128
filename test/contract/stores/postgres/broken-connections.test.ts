// A connection to PostgreSQL that breaks in the middle of a step: a real server, real time. Jest fails
// a test that leaves a rejection unhandled, which would end the process of a user.
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { StoreUnavailableError } from '../../../../lib/lock/errors.ts';
import type { Postgres } from '../../../support/postgres-server.ts';
import { startPostgres } from '../../../support/postgres-server.ts';
import { describeWith } from '../../../support/requirements.ts';
import { postgresFixture } from '../../bench/postgres-fixture.ts';
import { clientOf, eventually } from '../../bench/store-bench.ts';

describeWith(['postgres'], 'a postgres store whose connection breaks', () => {
  let server: Postgres;

  beforeAll(async () => {
    server = await startPostgres();
  });
  afterAll(() => server.stop());

  test('F1 rejects the call, and nothing else, while it removes the session of a dead host', async () => {
    const { schema, connect, expireSession } = await postgresFixture(server);
    await using store = await connect();
    const dead = await clientOf(store, 'dead');
    const held = await dead.hold('db');
    const client = await clientOf(store, 'n1');
    const locked = server.psql(`BEGIN; SELECT 'locked' FROM "${schema}".tickets FOR UPDATE;
      SELECT pg_sleep(1); COMMIT`);
    const isRunning = (statement: string) => async () =>
      expect(
        await server.psql(`SELECT count(*) FROM pg_stat_activity
          WHERE state = 'active' AND query LIKE '${statement}%'`),
      ).toBe('1');
    await eventually(isRunning('SELECT pg_sleep'));
    await expireSession?.(dead.session);
    const request = client.request('db');
    const refused = expect(store.enqueue(request)).rejects.toThrow(StoreUnavailableError);
    // The ticket of the dead host can't be deleted yet, and the statements behind wait.
    await eventually(isRunning('DELETE FROM'));
    await server.psql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE application_name = 'berth'`);
    await refused;
    await locked;
    // A busy machine can be too slow for a step, which is then refused again.
    await eventually(async () =>
      expect(await store.enqueue(request)).toMatchObject({ state: 'granted' }),
    );
    expect(await store.stands(held)).toBe(false);
  });
});
