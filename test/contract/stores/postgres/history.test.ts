// Locks when PostgreSQL is put back: real servers, dumps, copies and promotions; real time.
import { appendFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { StoreUnavailableError } from '../../../../lib/lock/errors.ts';
import type { LockManager } from '../../../../lib/lock/lock-manager.ts';
import type { RememberedHistory } from '../../../../lib/lock/stores/history-record.ts';
import type { HistoryMemory } from '../../../../lib/lock/stores/history-source.ts';
import { postgresStore } from '../../../../lib/lock/stores/postgres/store.ts';
import type { Postgres } from '../../../support/postgres-server.ts';
import { startPostgres } from '../../../support/postgres-server.ts';
import { runOk } from '../../../support/processes.ts';
import { describeWith } from '../../../support/requirements.ts';
import { keep, manager, take } from '../../bench/manager-bench.ts';
import { eventually, longTtlMs } from '../../bench/store-bench.ts';
import type { HistoryWay } from '../../locks/history-contract.ts';
import { lockHistoryContract } from '../../locks/history-contract.ts';

/** Each way in which PostgreSQL gets another history, from a backup that was made before. */
const ways: readonly HistoryWay<Postgres>[] = [
  {
    name: 'restored from a dump while clients are connected',
    backup: async (server) => {
      const dump = await server.dump('berth');
      return async () => {
        await server.psql(`BEGIN; DROP SCHEMA berth CASCADE;\n${dump}\nCOMMIT`);
      };
    },
    says: /restored from a dump/,
    tokensGrow: true,
  },
  {
    name: 'put back from a copy of its data',
    backup: copyOf,
    says: /its revision was \d+ and is \d+/,
    tokensGrow: true,
  },
  {
    name: 'restored up to a time, which ends in a promotion',
    backup: async (server) => {
      const restore = await copyOf(server);
      return () => restore({ promote: true });
    },
    says: /its timeline was 00000001 and is 00000002/,
    tokensGrow: true,
    isCutOffToo: true,
  },
];

describeWith(['postgres'], 'when PostgreSQL is', () => {
  lockHistoryContract<Postgres>({
    start: startPostgres,
    connect: (server, host, at) => {
      const url = new URL(server.url);
      if (at !== undefined) url.host = at;
      return postgresStore({ url: url.href, history: { host } });
    },
    addressOf: ({ host, port }) => `${host}:${port}`,
    ways,
    endQuarantine: (server) => server.psql('DELETE FROM berth.quarantine'),
  });
});

describeWith(['postgres'], 'when PostgreSQL is put back', () => {
  let stack: AsyncDisposableStack;
  let server: Postgres;

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    server = stack.use(await startPostgres());
  });
  afterEach(() => stack.disposeAsync());

  const host = (name: string, ttlMs = longTtlMs, memory?: HistoryMemory): LockManager => {
    const store = stack.use(postgresStore({ url: server.url, history: { host: name, memory } }));
    return stack.use(manager(store, name, { ttlMs }));
  };

  test('a host that starts again, or has just come, finds what was changed', async () => {
    const memory = memoryOf();
    const putBack = await startedAndStopped(memory, async (first) => {
      await take(first, 'db');
      return copyOf(server);
    });
    await startedAndStopped(memory, async (second) => {
      await (await take(second, 'db')).unlock();
    });
    await putBack();
    const third = host('n1', longTtlMs, memory);
    const early = take(third, 'other', { timeoutMs: 0 });
    await expect(early).rejects.toThrow(/its revision was \d+ and is \d+.*nobody is granted/);
    const fourth = host('n2');
    await expect(take(fourth, 'other', { timeoutMs: 0 })).rejects.toThrow(/nobody is granted/);
  });

  test('a server that is only restarted keeps its history', async () => {
    const n1 = host('n1');
    const { kept, states } = keep(await take(n1, 'db'), n1);
    await server.kill();
    await server.restart();
    await (await take(n1, 'other')).unlock();
    expect(kept.state).toBe('held');
    expect(states).toEqual([]);
    expect((await server.psql('SELECT count(*) FROM berth.quarantine')).trim()).toBe('0');
  });

  test('a role without rights to anything else notices a dump', async () => {
    await server.psql(`CREATE ROLE plain LOGIN PASSWORD 'plain'; CREATE SCHEMA berth AUTHORIZATION plain;
      REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC`);
    const url = new URL(server.url);
    url.username = 'plain';
    url.password = 'plain';
    const store = stack.use(postgresStore({ url: url.href }));
    const n1 = stack.use(manager(store, 'n1'));
    const { states } = keep(await take(n1, 'db'), n1);
    const dump = await server.dump('berth');
    await (await take(n1, 'later')).unlock();
    await server.psql(`BEGIN; DROP SCHEMA berth CASCADE;\n${dump}\nCOMMIT`);
    await expect(take(n1, 'other', { timeoutMs: 0 })).rejects.toThrow(StoreUnavailableError);
    await eventually(() => expect(states[0]).toBe('unproven'));
  });

  async function startedAndStopped<T>(
    memory: HistoryMemory,
    work: (host: LockManager) => Promise<T>,
  ): Promise<T> {
    await using store = postgresStore({ url: server.url, history: { host: 'n1', memory } });
    await using started = manager(store, 'n1');
    return await work(started);
  }
});

async function copyOf(
  server: Postgres,
): Promise<(options?: { readonly promote?: boolean }) => Promise<void>> {
  const data = server.dataDirectory;
  const copy = join(server.socketDirectory, 'copy');
  await server.kill();
  await runOk('cp', ['-a', data, copy]);
  await server.restart();
  return async ({ promote = false } = {}) => {
    await server.kill();
    await rm(data, { recursive: true });
    await runOk('cp', ['-a', copy, data]);
    if (promote) {
      await appendFile(join(data, 'postgresql.auto.conf'), "restore_command = 'false'\n");
      await writeFile(join(data, 'recovery.signal'), '', { mode: 0o666 });
    }
    await server.restart();
  };
}

function memoryOf(): HistoryMemory {
  let before: RememberedHistory | undefined;
  return {
    get before() {
      return before;
    },
    save: async (remembered) => {
      before = remembered;
    },
  };
}
