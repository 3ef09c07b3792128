// Locks when etcd is put back: real servers, real snapshots and restores, real time.
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { EtcdClient } from '../../../../lib/etcd/client.ts';
import { ProofExpiredError } from '../../../../lib/lock/errors.ts';
import type { LockManager } from '../../../../lib/lock/lock-manager.ts';
import { EtcdStore } from '../../../../lib/lock/stores/etcd/store.ts';
import type { RememberedHistory } from '../../../../lib/lock/stores/history-record.ts';
import type { HistoryMemory } from '../../../../lib/lock/stores/history-source.ts';
import type { EtcdBackup, RestoreOptions } from '../../../support/etcd-backup.ts';
import { copyOf, snapshotOf, wipe } from '../../../support/etcd-backup.ts';
import type { Etcd } from '../../../support/etcd-server.ts';
import { startEtcd } from '../../../support/etcd-server.ts';
import { describeWith } from '../../../support/requirements.ts';
import { addressesOf } from '../../bench/etcd-fixture.ts';
import { keep, manager, take } from '../../bench/manager-bench.ts';
import { eventually, longTtlMs } from '../../bench/store-bench.ts';
import type { HistoryWay, PutBack } from '../../locks/history-contract.ts';
import { lockHistoryContract, untilRenewed } from '../../locks/history-contract.ts';

/** Each way in which etcd gets another history, from a backup that was made before. */
const ways: readonly HistoryWay<Etcd>[] = [
  {
    name: 'restored from a snapshot with a new token',
    backup: (etcd) => backupOf(snapshotOf(etcd)),
    says: /its cluster ID was \d+ and is \d+/,
    tokensGrow: false,
    isCutOffToo: true,
  },
  {
    name: 'restored from a snapshot with the same token',
    backup: (etcd) => backupOf(snapshotOf(etcd), { sameToken: true }),
    says: /its log is shorter than its revisions/,
    tokensGrow: false,
  },
  {
    name: 'restored with a higher revision and the same token',
    backup: (etcd) => backupOf(snapshotOf(etcd), { sameToken: true, bumpBy: 1_000 }),
    says: /its log is shorter than its revisions/,
    tokensGrow: true,
    isCutOffToo: true,
  },
  {
    name: 'put back from a copy of its data',
    backup: (etcd) => backupOf(copyOf(etcd)),
    says: /its revision was \d+ and is \d+/,
    tokensGrow: false,
  },
];

async function backupOf(made: Promise<EtcdBackup>, options?: RestoreOptions): Promise<PutBack> {
  const backup = await made;
  return async () => {
    await backup.restore(options);
    await backup[Symbol.asyncDispose]();
  };
}

/** Starts a cluster in use: the log of a restored one is then clearly too short. */
async function startUsedEtcd(): Promise<Etcd> {
  await using stack = new AsyncDisposableStack();
  const etcd = stack.use(await startEtcd());
  for (let n = 0; n < 10; n += 1) await etcd.ctlOk('put', `other/${n}`, 'value');
  stack.move();
  return etcd;
}

describeWith(['etcd'], 'when etcd is', () => {
  lockHistoryContract<Etcd>({
    start: startUsedEtcd,
    connect: (etcd, host, at) =>
      new EtcdStore(new EtcdClient({ endpoints: at ? [at] : addressesOf(etcd) }), '/berth', {
        host,
      }),
    addressOf: (etcd) => addressesOf(etcd)[0] ?? '',
    ways,
    endQuarantine: (etcd) => etcd.ctlOk('del', '/berth/history/quarantine'),
  });
});

describeWith(['etcd'], 'when etcd is put back', () => {
  let stack: AsyncDisposableStack;
  let etcd: Etcd;

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    etcd = stack.use(await startUsedEtcd());
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

  test.each<readonly [string, (of: Etcd) => Promise<unknown>]>([
    ['wiped', wipe],
    ['without the keys that berth keeps there', (of) => of.ctlOk('del', '--prefix', '/')],
  ])('%s, it begins a new history, and locks are put back', async (_what, lose) => {
    const n1 = host('n1');
    const { kept, states } = keep(await take(n1, 'db'), n1);
    await lose(etcd);
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
