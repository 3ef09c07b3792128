import { afterAll, afterEach, beforeAll, beforeEach, describe } from '@jest/globals';
import { embeddedStore } from '../../../lib/lock/stores/embedded/store.ts';
import { memoryState, memoryStore } from '../../../lib/lock/stores/memory/store.ts';
import type { Etcd } from '../../support/etcd-server.ts';
import { startEtcd } from '../../support/etcd-server.ts';
import type { Postgres } from '../../support/postgres-server.ts';
import { startPostgres } from '../../support/postgres-server.ts';
import { describeWith } from '../../support/requirements.ts';
import { embeddedDirectory } from './embedded-directory.ts';
import { etcdFixture } from './etcd-fixture.ts';
import { fileFixture } from './file-directory.ts';
import type { ManagerBenchOf } from './manager-bench.ts';
import { ManagerBench } from './manager-bench.ts';
import { postgresFixture } from './postgres-fixture.ts';
import type { StoreFixture } from './store-bench.ts';

/**
 * Runs a suite about something that is built on locks on every store, with three managers on
 * connections of their own; in memory also with one manager that plays all hosts.
 */
export function onEveryStore(what: string, suite: (benchOf: ManagerBenchOf) => void): void {
  onStore('memory', memoryFixture, [1, 3]);
  onStore('embedded', embeddedFixture);
  describeWith(['flock'], 'the file store', () => onStore('file', fileFixture));
  describeWith(['postgres'], 'on PostgreSQL', () => {
    let postgres: Postgres;
    beforeAll(async () => {
      postgres = await startPostgres();
    });
    afterAll(() => postgres.stop());
    onStore('postgres', () => postgresFixture(postgres, { callTimeoutMs: 15_000 }));
  });
  describeWith(['etcd'], 'on etcd', () => {
    let etcd: Etcd;
    beforeAll(async () => {
      etcd = await startEtcd();
    });
    afterAll(() => etcd.stop());
    onStore('etcd', () => etcdFixture(etcd));
  });

  function onStore(
    name: string,
    makeStore: () => Promise<StoreFixture>,
    counts: readonly (1 | 3)[] = [3],
  ): void {
    describe.each(counts)(`${what} over %i lock manager(s) on the ${name} store`, (count) => {
      let bench: ManagerBench | undefined;
      beforeEach(async () => {
        bench = await ManagerBench.open(await makeStore(), count);
      });
      afterEach(async () => {
        await bench?.[Symbol.asyncDispose]();
        bench = undefined;
      });
      suite(() => {
        if (bench === undefined) throw new Error('there is a bench only while a test runs');
        return bench;
      });
    });
  }
}

async function memoryFixture(): Promise<StoreFixture> {
  const shared = memoryState();
  return { connect: async () => memoryStore({ shared }), dispose: async () => {} };
}

async function embeddedFixture(): Promise<StoreFixture> {
  const directory = await embeddedDirectory();
  return {
    connect: () => embeddedStore({ path: directory.path }),
    dispose: () => directory[Symbol.asyncDispose](),
  };
}
