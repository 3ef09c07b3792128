// The lock manager's contract on each dialect of PostgreSQL: a real server, real time.
import { afterAll, beforeAll, describe } from '@jest/globals';
import type { Postgres } from '../../../support/postgres-server.ts';
import { startPostgres } from '../../../support/postgres-server.ts';
import { describeWith } from '../../../support/requirements.ts';
import { dialects, postgresFixture } from '../../bench/postgres-fixture.ts';
import { lockManagerContract } from '../../locks/manager-contract.ts';

describeWith(['postgres'], 'on PostgreSQL', () => {
  let server: Postgres;

  beforeAll(async () => {
    server = await startPostgres();
  });
  afterAll(() => server.stop());

  describe.each(dialects)('as a %s', (dialect) => {
    lockManagerContract('postgres', () => postgresFixture(server, { dialect }));
  });
});
