import type { PostgresStoreOptions } from '../../../lib/lock/stores/postgres/store.ts';
import { postgresStore } from '../../../lib/lock/stores/postgres/store.ts';
import type { Postgres } from '../../support/postgres-server.ts';
import type { StoreFixture } from './store-bench.ts';

export const dialects = ['postgres', 'cockroach'] as const;

let schemas = 0;

/** Makes an empty store in a schema of its own. */
export async function postgresFixture(
  server: Postgres,
  options: PostgresStoreOptions = {},
): Promise<StoreFixture & { readonly schema: string }> {
  schemas += 1;
  const schema = `test ${schemas}`;
  return {
    schema,
    isSlow: true,
    connect: async () => postgresStore({ url: server.url, schema, ...options }),
    dispose: async () => {},
    expireSession: async (id) => {
      // Ends the session's TTL, counted from its renewal and from the start of the server.
      await server.psql(
        `UPDATE "${schema}".sessions SET expires_at = 'epoch', ttl_ms = 0 WHERE id = '${id}'`,
      );
    },
  };
}
