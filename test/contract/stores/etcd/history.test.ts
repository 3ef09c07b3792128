// Locks when etcd is put back: real servers, real snapshots and restores, real time.
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { EtcdClient } from '../../../../lib/etcd/client.ts';
import { ProofExpiredError, StoreUnavailableError } from '../../../../lib/lock/errors.ts';
import type { LockManager } from '../../../../lib/lock/lock-manager.ts';
import { EtcdStore } from '../../../../lib/lock/stores/etcd/store.ts';
import type { RememberedHistory } from '../../../../lib/lock/stores/history-record.ts';
import type { HistoryMemory } from '../../../../lib/lock/stores/history-source.ts';
import type { EtcdBackup } from '../../../support/etcd-backup.ts';
import { copyOf, snapshotOf, wipe } from '../../../support/etcd-backup.ts';
import type { Etcd } from '../../../support/etcd-server.ts';
import { startEtcd } from '../../../support/etcd-server.ts';
import { describeWith } from '../../../support/requirements.ts';
import { addressesOf } from '../../bench/etcd-fixture.ts';
import { keep, manager, queue, take } from '../../bench/manager-bench.ts';
import { eventually, longTtlMs } from '../../bench/store-bench.ts';

/** Each way in which etcd gets another history, from a backup that was made before. */
const ways: readonly {
  readonly name: string;
  readonly backup: (etcd: Etcd) => Promise<EtcdBackup>;
  readonly restore: (backup: EtcdBackup) => Promise<void>;
}[] = [
  {
    name: 'restored from a snapshot with a new token',
    backup: snapshotOf,
    restore: (backup) => backup.restore(),
  },
  {
    name: 'restored from a snapshot with the same token',
    backup: snapshotOf,
    restore: (backup) => backup.restore({ sameToken: true }),
  },
  {
    name: 'restored with a higher revision and the same token',
    backup: snapshotOf,
    restore: (backup) => backup.restore({ sameToken: true, bumpBy: 1_000 }),
  },
  {
    name: 'put back from a copy of its data',
    backup: copyOf,
    restore: (backup) => backup.restore(),
  },
];

describeWith(['etcd'], 'when etcd is put back', () => {
  let stack: AsyncDisposableStack;
  let etcd: Etcd;

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    etcd = stack.use(await startEtcd());
    // A cluster in use: the log of a restored one is then clearly too short.
    for (let n = 0; n < 10; n += 1) await etcd.ctlOk('put', `other/${n}`, 'value');
  });
  afterEach(() => stack.disposeAsync());

  const host = (
    name: string,
    ttlMs = longTtlMs,
    memory?: HistoryMemory,
    until: AsyncDisposableStack = stack,
  ): LockManager => {
    const client = new EtcdClient({ endpoints: addressesOf(etcd) });
    const store = until.use(new EtcdStore(client, '/berth', { host: name, memory }));
    return until.use(manager(store, name, { ttlMs }));
  };
  /** Runs a host that stops as a daemon does, its store last. */
  const during = async (
    name: string,
    memory: HistoryMemory,
    work: (host: LockManager) => Promise<unknown>,
  ) => {
    await using until = new AsyncDisposableStack();
    await work(host(name, longTtlMs, memory, until));
  };
  /** Lets the quarantine end now instead of after its TTL. */
  const endQuarantine = () => etcd.ctlOk('del', '/berth/history/quarantine');

  for (const { name, backup: makeBackup, restore } of ways) {
    test(`${name}, all holders prove their locks, and nobody else gets one meanwhile`, async () => {
      const n1 = host('n1');
      const n2 = host('n2');
      const older = keep(await take(n1, 'older'), n1);
      await take(n2, 'gone');
      await using backup = stack.use(await makeBackup(etcd));
      const younger = keep(await take(n1, 'younger'), n1);
      const waiter = await queue(n2, 'younger');

      await restore(backup);
      await eventually(() => expect(older.states).toEqual(['unproven', 'held']));
      await eventually(() => expect(younger.states).toEqual(['unproven', 'lost']));
      expect(younger.kept.proof).toBe(1);
      await eventually(() => expect(n2.leftMs).toBeGreaterThan(0));
      const early = take(n2, 'other', { timeoutMs: 0 });
      await expect(early).rejects.toThrow(StoreUnavailableError);
      await expect(early).rejects.toThrow(/nobody is granted a lock for 60 s/);
      const again = await take(n1, 'younger', { timeoutMs: 0, proof: younger.kept.proof });
      expect((await n1.health()).map(({ message }) => message).join()).toMatch(/by itself/);

      await endQuarantine();
      await (await take(n2, 'other')).unlock();
      expect((await n1.health()).map(({ message }) => message).join()).toMatch(/berth doctor/);
      expect(waiter.endedAt).toBeUndefined();
      await again.unlock();
      await (await waiter.granted).unlock();
    });
  }

  test('a lock that was unproven before is lost, although its ticket stands again', async () => {
    const n1 = host('n1', 3_000);
    const { kept, states } = keep(await take(n1, 'db'), n1);
    await using backup = stack.use(await snapshotOf(etcd));
    await backup.stop();
    await eventually(() => expect(states).toEqual(['unproven']));
    await backup.restore();
    await eventually(() => expect(states).toEqual(['unproven', 'lost']));
    expect(kept.proof).toBeUndefined();
    await eventually(async () => expect(await n1.inspect('db')).toEqual([]));
  });

  test('a host that has just come finds the quarantine, or begins it', async () => {
    const n1 = host('n1');
    await n1.open();
    await using backup = stack.use(await snapshotOf(etcd));
    await take(n1, 'db');
    await backup.stop();
    await n1.close({ keep: true }); // It is cut off, and goes on for up to its TTL.
    await backup.restore({ sameToken: true });
    const n2 = host('n2', 3_000);
    const early = take(n2, 'db', { timeoutMs: 0 });
    await expect(early).rejects.toThrow(
      /restored from a snapshot.*nobody is granted a lock for 60 s/,
    );
    await endQuarantine();
    await (await take(n2, 'db')).unlock();
  });

  test('a host that starts again remembers what it saw', async () => {
    const memory = memoryOf();
    await during('n1', memory, (first) => take(first, 'db'));
    await using backup = stack.use(await copyOf(etcd));
    await during('n1', memory, async (second) => {
      await (await take(second, 'db')).unlock();
    });
    await backup.restore();
    const third = host('n1', longTtlMs, memory);
    const early = take(third, 'db', { timeoutMs: 0 });
    await expect(early).rejects.toThrow(/its revision was \d+ and is \d+.*nobody is granted/);
  });

  test('a host that stops before it has recorded the change remembers what it saw', async () => {
    const memory = memoryOf();
    await during('n1', memory, (first) => take(first, 'db'));
    await using backup = stack.use(await copyOf(etcd));
    await during('n1', memory, async (second) => {
      memory.isFull = true;
      await (await take(second, 'db')).unlock();
      const noticed = new Promise((resolve) => second.onHistoryChanged(resolve));
      await backup.restore();
      await noticed;
      await backup.stop();
      memory.isFull = false;
    });
    await backup.restore();
    const third = host('n1', longTtlMs, memory);
    const early = take(third, 'db', { timeoutMs: 0 });
    await expect(early).rejects.toThrow(/its revision was \d+ and is \d+.*nobody is granted/);
  });

  test('wiped, it begins a new history, and locks are put back', async () => {
    const n1 = host('n1');
    const { kept, states } = keep(await take(n1, 'db'), n1);
    await wipe(etcd);
    await eventually(() => expect(states).toEqual(['unproven', 'lost']));
    await untilRenewed(n1);
    const again = await take(n1, 'db', { timeoutMs: 0, proof: kept.proof });
    await endQuarantine();
    await again.unlock();
    await expect(take(n1, 'db', { timeoutMs: 0, proof: kept.proof })).rejects.toThrow(
      ProofExpiredError,
    );
  });

  test('twice, a lock that was not put back in time is no proof any more', async () => {
    const n1 = host('n1');
    await using backup = stack.use(await snapshotOf(etcd));
    const { kept, states } = keep(await take(n1, 'db'), n1);
    await backup.restore();
    await eventually(() => expect(states).toEqual(['unproven', 'lost']));
    await backup.restore();
    await untilRenewed(n1);
    const late = take(n1, 'db', { timeoutMs: 0, proof: kept.proof });
    await expect(late).rejects.toThrow(ProofExpiredError);
  });
});

/** Waits until the store has renewed the session: a request that does not wait is refused before. */
async function untilRenewed(host: LockManager): Promise<void> {
  await eventually(async () => {
    await host.open();
    expect(host.leftMs).toBeGreaterThan(0);
  });
}

interface FullMemory extends HistoryMemory {
  /** True: nothing can be saved. */
  isFull: boolean;
}

function memoryOf(): FullMemory {
  let before: RememberedHistory | undefined;
  return {
    isFull: false,
    get before() {
      return before;
    },
    async save(remembered) {
      if (this.isFull) throw new Error('the disk is full');
      before = remembered;
    },
  };
}
