// The lock manager's contract for outages, on PostgreSQL: a real server that is killed and frozen,
// a proxy that cuts connections; real time.
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import type { LockManager } from '../../../../lib/lock/lock-manager.ts';
import { postgresStore } from '../../../../lib/lock/stores/postgres/store.ts';
import { startPostgres } from '../../../support/postgres-server.ts';
import { describeWith } from '../../../support/requirements.ts';
import { keep, manager, queue, take } from '../../bench/manager-bench.ts';
import { dialects } from '../../bench/postgres-fixture.ts';
import { eventually } from '../../bench/store-bench.ts';
import { lockOutageContract, outageTtlMs } from '../../locks/outage-contract.ts';

for (const dialect of dialects) {
  describeWith(['postgres'], `when PostgreSQL fails (as a ${dialect})`, () => {
    const benchOf = lockOutageContract({
      start: startPostgres,
      connect: (server) => postgresStore({ url: server.url, dialect }),
      complaint: / at 127.0.0.1:\d+ .* can't be used: /,
      // Only the PostgreSQL dialect gives sessions their full TTL again at a start of the server.
      outlastsMs: dialect === 'postgres' ? outageTtlMs : 0,
    });

    test('frees the lock of a dead host after the restart of the server', async () => {
      const { server, network, n1, n2 } = benchOf();
      await take(n1, 'db');
      const { granted } = await queue(n2, 'db');
      network.cutOff();
      await server.kill();
      await pause(outageTtlMs / 2);
      await server.restart();
      // Nobody renews or removes the dead host's session: only its TTL frees the lock.
      await (await granted).unlock();
    });

    test('goes on when the server ends its connections in the middle of work', async () => {
      const { server } = benchOf();
      await using stack = new AsyncDisposableStack();
      // No session may expire on a busy machine: this is about the connections alone.
      const [n1, n2] = ['n3', 'n4'].map((name) => {
        const store = stack.use(postgresStore({ url: server.url, dialect }));
        return stack.use(manager(store, name, { ttlMs: 120_000 }));
      }) as [LockManager, LockManager];
      const { kept, states } = keep(await take(n1, 'kept'), n1);
      const work = Array.from({ length: 10 }, async (_, index) => {
        for (let round = 0; round < 20; round += 1) {
          const by = index % 2 === 0 ? n1 : n2;
          await (await take(by, 'db', { timeoutMs: 60_000 })).unlock();
        }
      });
      const disturbance = (async () => {
        for (let round = 0; round < 10; round += 1) {
          await server.psql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE application_name = 'berth'`);
          await pause(100);
        }
      })();
      await Promise.all([...work, disturbance]);
      await eventually(async () => expect(await n1.inspect('db')).toEqual([]));
      await eventually(() => expect(n1.mirror.isLive && n2.mirror.isLive).toBe(true));
      expect(states).toEqual([]);
      expect(kept.state).toBe('held');
      await kept.unlock();
    });
  });
}
