// The store contract on each dialect of PostgreSQL: a real server, real time.
import { afterAll, beforeAll, describe } from '@jest/globals';
import type { Postgres } from '../../../support/postgres-server.ts';
import { startPostgres } from '../../../support/postgres-server.ts';
import { describeWith } from '../../../support/requirements.ts';
import { dialects, postgresFixture } from '../../bench/postgres-fixture.ts';
import { ticketStoreContract } from '../../store/ticket-store.ts';

describeWith(['postgres'], 'on PostgreSQL', () => {
  let server: Postgres;

  beforeAll(async () => {
    server = await startPostgres();
  });
  afterAll(() => server.stop());

  describe.each(dialects)('as a %s', (dialect) => {
    ticketStoreContract('postgres', () =>
      postgresFixture(server, { dialect, callTimeoutMs: 15_000 }),
    );
  });
});
