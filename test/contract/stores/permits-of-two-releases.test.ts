// The release before this one knows no permits: beside it, each permit counts as an exclusive lock.
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { EtcdClient } from '../../../lib/etcd/client.ts';
import { embeddedStore } from '../../../lib/lock/stores/embedded/store.ts';
import { EtcdStore } from '../../../lib/lock/stores/etcd/store.ts';
import { postgresStore } from '../../../lib/lock/stores/postgres/store.ts';
import type { TicketStore } from '../../../lib/lock/stores/ticket-store.ts';
import { checkOut } from '../../support/earlier-release.ts';
import { startEtcd } from '../../support/etcd-server.ts';
import { startPostgres } from '../../support/postgres-server.ts';
import { runOk, startProcess, waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';
import { addressesOf } from '../bench/etcd-fixture.ts';
import { manager } from '../bench/manager-bench.ts';
import { exclusive, permit } from '../bench/store-bench.ts';

const program = join(import.meta.dirname, 'earlier-locks.ts');

describeWith(['history'], 'permits beside the release before', () => {
  const stack = new AsyncDisposableStack();
  let before: string;
  let directory: string;
  beforeAll(async () => {
    before = stack.use(await checkOut('before')).path;
    directory = stack.use(await makeTemporaryDirectory()).path;
  });
  afterAll(() => stack.disposeAsync());

  test('a SQLite file', () => {
    const path = join(directory, 'locks.db');
    return takeTurns('embedded', path, () => embeddedStore({ path }));
  });

  describeWith(['etcd'], 'on a server', () => {
    test('etcd', async () => {
      const etcd = stack.use(await startEtcd());
      const [address = ''] = addressesOf(etcd);
      await takeTurns(
        'etcd',
        address,
        async () => new EtcdStore(new EtcdClient({ endpoints: [address] }), '/berth'),
      );
    });
  });

  describeWith(['postgres'], 'in a database', () => {
    test('PostgreSQL, whose tables the release before has made', async () => {
      const { url } = stack.use(await startPostgres());
      const empty = { granted: ['exclusive', 'shared'], seen: [] };
      expect(await tryIt('postgres', url)).toEqual(empty);
      await takeTurns('postgres', url, async () => postgresStore({ url }));
    });
  });

  /** Tries both modes with the release before. */
  async function tryIt(kind: string, place: string): Promise<unknown> {
    return JSON.parse(await runOk('node', [program, before, 'try', kind, place]));
  }

  async function takeTurns(
    kind: string,
    place: string,
    connect: () => Promise<TicketStore>,
  ): Promise<void> {
    await using store = await connect();
    await using locks = manager(store, 'new');
    const held = [await locks.lock(permit('pool')), await locks.lock(permit('pool'))];
    // It reads each permit as an exclusive lock, so it is granted nothing, and shows who holds it.
    const seen = expect.arrayContaining([expect.objectContaining(exclusive('pool'))]);
    expect(await tryIt(kind, place)).toEqual({ granted: [], seen });

    await using old = startProcess('node', [program, before, 'hold', kind, place]);
    await waitFor(() => old.output().includes('waits'), 20_000, 'it to wait');
    const waits = Promise.withResolvers<void>();
    const third = locks.lock(permit('pool'), { onWait: () => waits.resolve() });
    await waits.promise;
    for (const lock of held) {
      expect(old.output()).not.toContain('granted');
      await lock.unlock();
    }
    await waitFor(() => old.output().includes('granted'), 20_000, 'it to be granted the lock');
    expect(await locks.tryLock(permit('pool'))).toBeUndefined();
    old.kill('SIGTERM');
    const granted = await third;
    expect((await old.finished).code).toBe(0);
    await granted.confirm();
    await granted.unlock();
  }
});
