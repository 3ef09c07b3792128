import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { LockLostError, StoreUnavailableError } from '../../../lib/lock/errors.ts';
import type { Lock } from '../../../lib/lock/lock.ts';
import type { LockManager } from '../../../lib/lock/lock-manager.ts';
import type { TicketStore } from '../../../lib/lock/stores/ticket-store.ts';
import type { KeptLock } from '../../../lib/lock/use/kept-lock.ts';
import { mountMarkKey } from '../../../lib/volumes/records/catalog.ts';
import { claimPrefix } from '../../../lib/volumes/records/claims.ts';
import { startTcpProxy } from '../../support/tcp-proxy.ts';
import { keep, manager, queue, take } from '../bench/manager-bench.ts';
import { eventually, longTtlMs, shared } from '../bench/store-bench.ts';
import { reacquire, rowOf } from './history-mounts.ts';

/** The TTL where a test waits for its end. It outlasts a backup that stops and starts the store. */
const shortTtlMs = 15_000;

/** Requests that outlast a quarantine. */
const patient = { timeoutMs: 120_000 };

/** Puts the store back to the state in which it was when this was made. */
export type PutBack = () => Promise<void>;

/** A way in which a store gets another history. */
export interface HistoryWay<Server> {
  readonly name: string;
  readonly backup: (server: Server) => Promise<PutBack>;
  /** The cause that people read. */
  readonly says: RegExp;
  /** Tokens after it are larger than those before. */
  readonly tokensGrow: boolean;
  /** Tested also with a host that is cut off, which takes a TTL. */
  readonly isCutOffToo?: true;
}

export interface HistoryOptions<Server extends AsyncDisposable> {
  readonly start: () => Promise<Server>;
  /** `at`: the address of a proxy to the server. */
  readonly connect: (server: Server, host: string, at?: string) => TicketStore;
  /** The server's host:port. */
  readonly addressOf: (server: Server) => string;
  readonly ways: readonly HistoryWay<Server>[];
  /** Lets the quarantine end now instead of after its TTL. */
  readonly endQuarantine: (server: Server) => Promise<unknown>;
}

/** Checks locks while their store is put back to an earlier state. */
export function lockHistoryContract<Server extends AsyncDisposable>(
  options: HistoryOptions<Server>,
): void {
  let stack: AsyncDisposableStack;
  let server: Server;

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    server = stack.use(await options.start());
  });
  afterEach(() => stack.disposeAsync());

  const host = (name: string, ttlMs = longTtlMs, at?: string): LockManager => {
    const store = stack.use(options.connect(server, name, at));
    return stack.use(manager(store, name, { ttlMs }));
  };

  for (const { name, backup, says, tokensGrow, isCutOffToo } of options.ways) {
    test(`${name}, all holders prove their locks, nobody else gets one meanwhile, and waiters go on`, async () => {
      const n1 = host('n1');
      const n2 = host('n2');
      const older = keep(await take(n1, 'older'), n1);
      const reader = keep(await take(n1, [shared('read')]), n1);
      const waiters = [await queue(n2, 'older', patient)];
      const released = await take(n2, 'ghost');
      const broken = await take(n1, 'broken');
      const putBack = await backup(server);
      await released.unlock();
      await n2.breakLock(broken.ticket);
      await eventually(() => expect(broken.signal.aborted).toBe(true));
      const younger = keep(await take(n1, 'younger'), n1);
      const heir = keep(await take(n1, 'ghost'), n1);
      const reader2 = keep(await take(n2, [shared('read')]), n2);
      waiters.push(await queue(n2, 'younger', patient), await queue(n2, 'read', patient));

      await putBack();
      await eventually(() => expect(younger.states).toEqual(['unproven', 'lost']));
      expect(younger.kept.proof).toBe(1);
      await eventually(() => expect(older.states[0]).toBe('unproven'));
      await eventually(async () => {
        const early = take(n2, 'other', { timeoutMs: 0 });
        await expect(early).rejects.toThrow(StoreUnavailableError);
        await expect(early).rejects.toThrow(/nobody is granted a lock for 60 s/);
        await expect(early).rejects.toThrow(says);
      });
      const again = await relocked(n1, younger.kept);
      if (tokensGrow) expect(again.token).toBeGreaterThan(younger.kept.token);
      // Of a released lock, its ticket stands again, and its owner removes it.
      const heirAgain = await relocked(n1, heir.kept);
      expect(() => released.throwIfLost()).toThrow(LockLostError);
      expect(await n1.inspect('ghost')).toEqual([heirAgain.ticket]);
      // So does that of a broken lock, which its holder need not unlock.
      await eventually(async () => expect(await n1.inspect('broken')).toEqual([]));
      // In a dump, the sessions have expired: what was older is then put back, too.
      const first = await proved(n1, older);
      const readers = [await proved(n1, reader), await proved(n2, reader2)];
      expect((await n1.health()).map(({ message }) => message).join()).toMatch(/by itself/);
      await options.endQuarantine(server);
      await (await take(n2, 'other')).unlock();
      expect((await n1.health()).map(({ message }) => message).join()).toMatch(/berth doctor/);

      expect(waiters.map(({ endedAt }) => endedAt)).toEqual([undefined, undefined, undefined]);
      for (const held of [first, again, ...readers]) await held.unlock();
      for (const { granted } of waiters) await (await granted).unlock();
    });

    if (!isCutOffToo) continue;
    test(`${name}, a host that is cut off stops before anybody else gets its locks`, async () => {
      const proxy = stack.use(await startTcpProxy(options.addressOf(server)));
      const n1 = host('n1', shortTtlMs, proxy.address);
      const n2 = host('n2', shortTtlMs);
      await n2.open();
      const standing = keep(await take(n1, 'standing'), n1);
      const putBack = await backup(server);
      const missing = keep(await take(n1, 'mount/db'), n1);
      const plain = await take(n1, 'plain');
      const row = rowOf(missing.kept);
      await proxy.cut();
      const stopped = [standing.kept, missing.kept, plain].map(({ signal }) => abortOf(signal));
      await putBack();
      const others = ['standing', 'mount/db', 'plain'].map(async (lock) => {
        const granted = await take(n2, lock, patient);
        return { granted, at: performance.now() };
      });
      for (const [index, other] of others.entries()) {
        const { granted, at } = await other;
        expect(await stopped[index]).toBeLessThan(at);
        await granted.unlock();
      }
      await proxy.suffer('none');
      // What was unproven before it knew of the change has no proof, whatever the store has of it.
      for (const { kept, states } of [standing, missing]) {
        await eventually(() => expect(states).toEqual(['unproven', 'lost']));
        expect(kept.proof).toBeUndefined();
      }
      await untilRenewed(n1);
      await expect(reacquire(n1, row, undefined)).rejects.toThrow(/the store was put back while/);
    });
  }

  test('without its marks, a host that proves its lock puts its mark back, and nobody has asked', async () => {
    const [way] = options.ways;
    const n1 = host('n1');
    await n1.open();
    const putBack = await way?.backup(server);
    const { kept, states } = keep(await take(n1, 'mount/db'), n1);
    const row = rowOf(kept);
    await kept.guard([{ key: mountMarkKey('db'), value: row.mountMark }]);
    await putBack?.();
    await eventually(() => expect(states).toEqual(['unproven', 'lost']));
    expect(await n1.record(mountMarkKey('db'))).toBeUndefined();
    await untilRenewed(n1);
    const again = await reacquire(n1, row, kept.proof);
    expect(await n1.record(mountMarkKey('db'))).toMatchObject({ value: row.mountMark });
    expect(await n1.record(claimPrefix('db') + row.mountMark)).toBeDefined();
    expect(await n1.inspect('mount/db')).toEqual([again.ticket]);
    await again.unlock();
  });
}

/** Waits until the store has renewed the session: a request that does not wait is refused before. */
export async function untilRenewed(host: LockManager): Promise<void> {
  await eventually(async () => {
    await host.open();
    expect(host.leftMs).toBeGreaterThan(0);
  });
}

/** Returns the lock as it is proved in the new history: its ticket stands, or it is put back. */
async function proved(
  by: LockManager,
  { kept, states }: ReturnType<typeof keep>,
): Promise<Pick<Lock, 'unlock'>> {
  await eventually(() => expect(states.at(-1)).toMatch(/held|lost/));
  return kept.state === 'held' ? kept : await relocked(by, kept);
}

/** Puts a lock back whose ticket is missing. */
async function relocked(by: LockManager, { ticket, proof }: KeptLock): Promise<Lock> {
  let lock: Lock | undefined;
  await eventually(async () => {
    lock = await take(by, ticket.locks, { timeoutMs: 0, proof });
  });
  if (!lock) throw new Error('the lock was not put back');
  return lock;
}

/** Resolves when a signal aborts, with the time by `performance.now()`. */
function abortOf(signal: AbortSignal): Promise<number> {
  signal.throwIfAborted();
  return new Promise((resolve) =>
    signal.addEventListener('abort', () => resolve(performance.now()), { once: true }),
  );
}
