// The lock manager's contract on PostgreSQL: a real server, real time. One dialect is enough: the dialects differ behind
// the port of the store only, whose contract runs on each of them (store.test.ts, outage.test.ts).
import { afterAll, beforeAll } from '@jest/globals';
import type { Postgres } from '../../../support/postgres-server.ts';
import { startPostgres } from '../../../support/postgres-server.ts';
import { describeWith } from '../../../support/requirements.ts';
import { postgresFixture } from '../../bench/postgres-fixture.ts';
import { lockManagerContract } from '../../locks/manager-contract.ts';

describeWith(['postgres'], 'on PostgreSQL', () => {
  let server: Postgres;

  beforeAll(async () => {
    server = await startPostgres();
  });
  afterAll(() => server.stop());

  lockManagerContract('postgres', () => postgresFixture(server, { callTimeoutMs: 15_000 }), [3]);
});
