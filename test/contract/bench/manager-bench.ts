import type { Lock } from '../../../lib/lock/lock.ts';
import { LockManager } from '../../../lib/lock/lock-manager.ts';
import type { LockOptions } from '../../../lib/lock/locks.ts';
import type { LockManagerOptions } from '../../../lib/lock/manager-options.ts';
import type { TicketStore } from '../../../lib/lock/stores/ticket-store.ts';
import type { LockRequest, Ticket } from '../../../lib/lock/ticket.ts';
import type { KeptLockState } from '../../../lib/lock/use/kept-lock.ts';
import { KeptLock } from '../../../lib/lock/use/kept-lock.ts';
import type { StoreFixture } from './store-bench.ts';
import { exclusive, longTtlMs } from './store-bench.ts';

/** One manager that plays three hosts, or three managers on connections of their own. */
export class ManagerBench implements AsyncDisposable {
  readonly fixture: StoreFixture;
  /** A connection that no manager uses, to read the store. */
  readonly store: TicketStore;
  readonly managers: readonly [LockManager, LockManager, LockManager];
  readonly #stack: AsyncDisposableStack;

  private constructor(
    fixture: StoreFixture,
    store: TicketStore,
    managers: readonly [LockManager, LockManager, LockManager],
    stack: AsyncDisposableStack,
  ) {
    this.fixture = fixture;
    this.store = store;
    this.managers = managers;
    this.#stack = stack;
  }

  static async open(fixture: StoreFixture, count: 1 | 3): Promise<ManagerBench> {
    await using stack = new AsyncDisposableStack();
    stack.defer(() => fixture.dispose());
    const store = stack.use(await fixture.connect());
    const host = async (name: string) => {
      const own = stack.use(await fixture.connect());
      return stack.use(manager(own, name));
    };
    const first = await host('n1');
    const managers =
      count === 1
        ? ([first, first, first] as const)
        : ([first, await host('n2'), await host('n3')] as const);
    return new ManagerBench(fixture, store, managers, stack.move());
  }

  /** Starts one more host on a connection of its own. */
  async host(options: Partial<LockManagerOptions> = {}): Promise<LockManager> {
    const own = this.#stack.use(await this.fixture.connect());
    return this.#stack.use(manager(own, options.host ?? 'n4', options));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** Gives the groups of a suite the bench of the running test. */
export type ManagerBenchOf = () => ManagerBench;

export function manager(
  store: TicketStore,
  host: string,
  options: Partial<LockManagerOptions> = {},
): LockManager {
  return new LockManager({ store, host, owner: host, ttlMs: longTtlMs, ...options });
}

/** Takes locks; a bare name means an exclusive lock. */
export function take(
  by: LockManager,
  locks: string | readonly LockRequest[],
  options: Partial<LockOptions> = {},
): Promise<Lock> {
  const requests = typeof locks === 'string' ? [exclusive(locks)] : locks;
  return by.lock(requests, { reason: 'Mount', ...options });
}

export interface Queued {
  readonly granted: Promise<Lock>;
  readonly blockers: readonly Ticket[];
  /** The time at which the wait ended, by `performance.now()`. */
  endedAt: number | undefined;
}

/** Makes a request that has to wait; resolves once it is in the queue. */
export async function queue(
  by: LockManager,
  locks: string | readonly LockRequest[],
  options: Partial<LockOptions> = {},
): Promise<Queued> {
  const waits = Promise.withResolvers<readonly Ticket[]>();
  const granted = take(by, locks, { ...options, onWait: waits.resolve });
  const tooSoon = granted.then(() => {
    throw new Error('did not have to wait');
  });
  const queued: Queued = {
    granted,
    blockers: await Promise.race([waits.promise, tooSoon]),
    endedAt: undefined,
  };
  const end = () => {
    queued.endedAt = performance.now();
  };
  void granted.then(end, end);
  tooSoon.catch(() => {}); // It waits now; failures reach whoever awaits `granted`.
  return queued;
}

/** Makes a kept lock and records its states. */
export function keep(lock: Lock, owner: LockManager): { kept: KeptLock; states: KeptLockState[] } {
  const states: KeptLockState[] = [];
  return { kept: new KeptLock(lock, owner, (state) => states.push(state)), states };
}
